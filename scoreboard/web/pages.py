"""Render HTML pages with a Content-Security-Policy."""

from typing import Any

from flask import Response, make_response, render_template

# Same origin only and nothing inline: markup injected into a page can neither run code nor send
# data to another site.
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
    """Render the template with these values. Return it with the security headers."""
    return with_security_headers(render_template(template, **values))


def with_security_headers(html: str) -> Response:
    """Return the HTML as a response with the security headers."""
    response = make_response(html)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response
