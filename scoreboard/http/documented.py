"""Declare the OpenAPI metadata of a route: its input, responses, errors and permissions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from marshmallow import Schema

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Documented:
    """Decorator with the OpenAPI metadata of a route, in addition to the view's docstring.

    `responses` has, by success status, the schema of a JSON body, the content type of another body,
    or None for no body. `errors` are the codes that the other fields do not imply. `needs` is the
    required kind of token, `optional` whether requests without a token are allowed. Each permission
    of `may` is sufficient. `conditional` responses have an ETag and support If-None-Match.
    """

    responses: Mapping[int, Schema | str | None]
    errors: Sequence[str] = ()
    body: Schema | None = None
    query: Schema | None = None
    path: Schema | None = None
    needs: Literal["access", "refresh", "access or refresh", "metrics"] | None = None
    optional: bool = False
    may: Sequence[str] = ()
    conditional: bool = False

    def __call__(self, view: View) -> View:
        """Attach the metadata to the view and return the view itself."""
        view.documented = self  # type: ignore[attr-defined]
        return view
