"""Everything about HTTP that is not a route: requests, responses, fields, origins."""

from flask import Flask

from ..services import services
from . import responses
from .json import OrjsonProvider
from .origins import AllowedOrigins
from .refusal_limiter import RefusalLimiter


def init_app(app: Flask) -> None:
    """Set up JSON, error responses, the rule of origins and the refusal limiter."""
    app.json = OrjsonProvider(app)
    responses.init_app(app)
    services(app).origins = AllowedOrigins(app.config["CORS_ORIGINS"])
    services(app).refusal_limiter = RefusalLimiter(behind_proxy=app.config["TRUSTED_PROXIES"] > 0)
