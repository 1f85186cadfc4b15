"""A page, and what a browser may do with it."""

from typing import Any

from flask import Response, make_response, render_template

# Nothing from anywhere else, and nothing inline: what somebody managed to put into a page would
# neither run nor be told to anyone.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def page(template: str, **values: Any) -> Response:
    """Return the page that a template makes of these values."""
    return under_policy(render_template(template, **values))


def under_policy(html: str) -> Response:
    """Return a page, and tell the browser what it may do."""
    response = make_response(html)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response
