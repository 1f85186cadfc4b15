"""The documentation, made of the schemas and routes in use: OpenAPI, AsyncAPI, and the page."""

from .routes import bp

__all__ = ["bp"]
