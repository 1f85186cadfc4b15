"""For those who run the service: is it alive, is it ready, how does it do."""

from .routes import bp

__all__ = ["bp"]
