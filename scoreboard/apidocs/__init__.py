"""Serve the OpenAPI and AsyncAPI documents, generated from the routes and schemas in use."""

from flask import Flask

from ..services import services
from .documents import ApiDocuments
from .routes import bp as bp


def init_app(app: Flask) -> None:
    """Create the application's documents; they are built when first requested."""
    services(app).api_documents = ApiDocuments(app)
