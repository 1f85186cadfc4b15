"""`flask export` and `flask import`: all data as one file, for backups and moves."""

import contextlib
import gzip
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from ..db import archive, transactions
from ..errors import DatabaseUnavailable
from ..extensions import db
from . import database

STANDARD_STREAM = "-"
# zlib's levels above need twice the time and more, and save a few per cent.
COMPRESSION_LEVEL = 4


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@with_appcontext
def export(file: str) -> None:
    """Write all data to FILE, compressed if its name ends in .gz; `-` is standard output.

    Servers may run meanwhile. An existing file is replaced once the new one is complete.
    """

    def write() -> dict[str, int]:
        with _created(file) as opened:
            return archive.write(db.engine, opened)

    _run(write)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@with_appcontext
def import_(file: str) -> None:
    """Read all data from FILE, made by `export`, into an empty database.

    No server may use the database. If there is an error, nothing is imported.
    """

    def read() -> dict[str, int]:
        with _opened(file) as opened:
            return archive.read(db.engine, opened)

    _run(read)


def _run(work: Callable[[], dict[str, int]]) -> None:
    """Print the number of rows that `work` has moved. Raises ClickException if it fails."""
    database.announce()
    driver_error: Any = db.engine.dialect.loaded_dbapi.Error
    try:
        if not transactions.is_up_to_date():
            raise click.ClickException(
                "The tables are those of another version: run `flask --app scoreboard db upgrade`."
            )
        counts = work()
    except (archive.InvalidArchive, archive.NotEmpty, OSError) as error:
        raise click.ClickException(str(error)) from None
    except (SQLAlchemyError, DatabaseUnavailable, driver_error, OverflowError) as error:
        problem = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise click.ClickException(f"The database refuses this: {problem}") from None
    for name, count in counts.items():
        click.echo(f"{name:16} {count:>12,} rows", err=True)


@contextlib.contextmanager
def _created(name: str) -> Iterator[BinaryIO]:
    """Open a new file, which gets its name when it is complete, with all data on the disk.

    Only its owner may read it, because it has password hashes.
    """
    if name == STANDARD_STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:
        try:
            with _compressing(path, file) as opened:
                yield opened
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _compressing(path: Path, file: IO[bytes]) -> contextlib.AbstractContextManager[Any]:
    if path.suffix != ".gz":
        return contextlib.nullcontext(file)
    return gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Iterable[bytes]]:
    if name == STANDARD_STREAM:
        yield sys.stdin.buffer
        return
    with gzip.open(name) if name.endswith(".gz") else open(name, "rb") as file:
        yield file
