"""The ASGI application around a `GuardService`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.routing import BaseRoute, Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from poisonsieve.errors import ConfigError, QuarantineError
from poisonsieve.serve.answers import json_response
from poisonsieve.serve.auth import Gate
from poisonsieve.serve.batching import ClosedError, QueueFullError
from poisonsieve.serve.bodies import Bodies, Refused
from poisonsieve.serve.middleware import Watch
from poisonsieve.serve.routes import open_router, router
from poisonsieve.serve.service import GuardService
from poisonsieve.serve.tables import cause
from poisonsieve.serve.writer import NotRecordedError

log = logging.getLogger("poisonsieve.serve")

PAGE = Path(__file__).parent / "page"
_SWAGGER = ("fastapi_offline", "static")  # the package that holds Swagger UI's files, and where
_DATABASE_RETRY_S = "5"


def create_app(service: GuardService) -> FastAPI:
    """Return the application, which starts and stops the service with itself.

    Raises:
        ConfigError: the API keys cannot be used.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="poisonsieve",
        version=installed("poisonsieve"),
        description="Rejects triggered texts before a weight-poisoned classifier reads them. Logs never quote a text.",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from other sites; page/docs has its own
        redoc_url=None,
    )
    app.state.service = service
    app.state.gate = Gate(service.settings)
    app.state.bodies = Bodies(service.settings, service.monitoring)
    app.include_router(open_router)
    app.include_router(router)
    _add_handlers(app, service)
    if find_spec(_SWAGGER[0]) is not None:
        app.mount("/swagger", StaticFiles(packages=[_SWAGGER]), name="swagger")
    if (PAGE / "index.html").is_file():
        app.router.routes.append(_Page(app.router.routes))
    app.add_middleware(Watch, monitoring=service.monitoring)
    return app


class _Page(Mount):
    """Serves the page's files at addresses without an endpoint, so that a wrong method on an endpoint stays a 405."""

    def __init__(self, endpoints: Sequence[BaseRoute]) -> None:
        super().__init__("/", StaticFiles(directory=PAGE, html=True), name="page")
        self._endpoints = list(endpoints)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `starlette.routing.BaseRoute`."""
        if any(endpoint.matches(scope)[0] is not Match.NONE for endpoint in self._endpoints):
            return Match.NONE, {}
        return super().matches(scope)


def _add_handlers(app: FastAPI, service: GuardService) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return json_response({"detail": error.detail}, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Do not repeat the input, which may be a text.
        parts = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
        return json_response({"detail": "; ".join(parts)}, 422)

    @app.exception_handler(ConfigError)
    async def impossible(_: Request, error: ConfigError) -> Response:
        return json_response({"detail": str(error)}, 422)

    @app.exception_handler(QueueFullError)
    async def full(_: Request, error: QueueFullError) -> Response:
        service.monitoring.shed.labels("queue").inc()
        return json_response({"detail": "the queue is full; try again"}, 503, {"Retry-After": str(error.retry_after)})

    @app.exception_handler(ClosedError)
    async def closed(_: Request, error: ClosedError) -> Response:
        return json_response({"detail": "the service is stopping; try again"}, 503, {"Retry-After": "1"})

    async def no_database(_: Request, error: Exception) -> Response:
        detail = "the quarantine cannot be reached, so the verdicts could not be recorded; try again"
        return json_response({"detail": detail}, 503, {"Retry-After": _DATABASE_RETRY_S})

    async def refusing_database(request: Request, error: Exception) -> Response:
        log.error("the quarantine cannot be reached: %s", cause(error))
        return await no_database(request, error)

    app.add_exception_handler(NotRecordedError, no_database)  # the writer has logged it
    # Catch every database error: a damaged file and a PostgreSQL standby raise types of their own.
    for kind in (SQLAlchemyError, QuarantineError):
        app.add_exception_handler(kind, refusing_database)

    @app.exception_handler(TimeoutError)
    async def late(_: Request, error: TimeoutError) -> Response:
        return json_response({"detail": "the request took too long; send fewer texts at a time, or try again"}, 504)
