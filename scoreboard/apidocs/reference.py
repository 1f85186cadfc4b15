"""Load the texts of the documents from the TOML files in this folder."""

import functools
import tomllib
from pathlib import Path
from typing import Any


def load(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of this folder, by its name without extension."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


@functools.cache
def texts() -> dict[str, Any]:
    """Return the content of reference.toml."""
    return load("reference")


def fields() -> dict[str, dict[str, Any]]:
    """Return the `description` and, if it has one, the `example` of each field.

    Keys are the name of the field, or `Schema.name` for a field that differs in this schema.
    """
    return texts()["fields"]


def codes() -> dict[str, dict[str, Any]]:
    """Return the `status`, `meaning` and `remedy` of each error code."""
    return texts()["codes"]
