"""Serve the OpenAPI and AsyncAPI documents, generated from the routes and schemas in use."""

from .routes import bp

__all__ = ["bp"]
