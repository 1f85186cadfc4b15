"""Web pages and their static files."""

from .routes import bp as bp
