"""What a route says of itself: what it takes, what it answers, who may ask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from marshmallow import Schema

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Documented:
    """What the documentation says of a route; its words are the view's docstring.

    `answers` has a schema for each status that is no error, a content type for what is no JSON,
    None for an empty body. `needs` is the kind of token it asks for, `optional` whether it may do
    without. `errors` are the codes that do not follow from the rest: a token, a
    body and parameters bring theirs. `may` are the permissions of which one is enough.
    `conditional` answers have an ETag and heed If-None-Match.
    """

    answers: Mapping[int, Schema | str | None]
    errors: Sequence[str] = ()
    body: Schema | None = None
    query: Schema | None = None
    path: Schema | None = None
    needs: Literal["access", "refresh", "access or refresh", "metrics"] | None = None
    optional: bool = False
    may: Sequence[str] = ()
    conditional: bool = False


def documented(answers: Mapping[int, Schema | str | None], **said: Any) -> Callable[[View], View]:
    """Attach this to a view, and change nothing else about it."""

    def attach(view: View) -> View:
        view.documented = Documented(answers, **said)  # type: ignore[attr-defined]
        return view

    return attach


def documentation(view: Callable[..., Any]) -> Documented | None:
    """Return what a view says of itself, None if it says nothing."""
    found: Documented | None = getattr(view, "documented", None)
    return found
