"""The OpenAPI and AsyncAPI documents of one application."""

import threading
from contextvars import copy_context
from functools import cached_property

from flask import Flask

from ..concurrency.runtime import run_in_thread
from . import asyncapi, openapi
from .schemas import Json


class ApiDocuments:
    """The two documents, each built once in a thread when first requested. Callers wait."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()

    def openapi(self) -> Json:
        """Return the OpenAPI 3.1 document."""
        with self._lock:
            return self._openapi

    def asyncapi(self) -> Json:
        """Return the AsyncAPI 3.0 document."""
        with self._lock:
            return self._asyncapi

    @cached_property
    def _openapi(self) -> Json:
        return run_in_thread(copy_context().run, openapi.document, self._app)

    @cached_property
    def _asyncapi(self) -> Json:
        return asyncapi.document(self._openapi)
