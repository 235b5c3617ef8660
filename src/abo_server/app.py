"""The application: MLflow's /invocations, /ping, /health and /version, and a page about them."""

import asyncio
import json
from html import escape
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from mlflow.exceptions import MlflowException
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from abo_server.body import Room, read_body, rows_of
from abo_server.limits import Failed, Limits
from abo_server.linger import Linger
from abo_server.openapi import ANSWERED, ASKED, ERRORS, HEALTHY, VERSION, example
from abo_server.work import Reply, Served, Work

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>abo-vqa</title><style>
body {{ font: 16px/1.5 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }}
pre {{ background: #f4f6f8; overflow-x: auto; padding: 1em }}
</style></head><body><h1>{version}</h1>
<p>Questions about images, answered by the {arm} arm. <a href="openapi.json">OpenAPI</a></p>
<pre>{curl}</pre>
<dl>{paths}</dl>
<h2>Body of /invocations</h2>
<pre>{body}</pre>
</body></html>
"""


class OrJson(Response):
    """A JSON answer; no number in it is NaN."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes."""
        return orjson.dumps(content)


def make_app(served: Served, limits: Limits | None = None, mlflow_version: str = "") -> ASGIApp:
    """Return the ASGI application that answers with a model."""
    limits = limits or Limits()
    work, room = Work(served, limits), Room(limits)
    app = FastAPI(
        title="abo-vqa", version=served.version, docs_url=None, redoc_url=None, default_response_class=OrJson,
        description=f"Questions about images, answered by the {served.arm} arm.",
    )  # fmt: skip

    @app.post("/invocations", openapi_extra={"requestBody": ASKED}, responses={200: ANSWERED, **ERRORS})
    async def invocations(request: Request) -> Response:
        """Answer questions about images."""
        async with read_body(request, room, limits) as body:
            rows = rows_of(body, limits)
            body.clear()
            return OrJson({"predictions": await _unless_gone(request, work, rows)})

    @app.get("/ping", responses={200: HEALTHY}, name="ping")
    @app.get("/health", responses={200: HEALTHY}, name="health")
    async def health() -> Response:
        """Say that the model is loaded."""
        return OrJson({"status": "ok"})

    @app.get("/version", responses={200: VERSION})
    async def version() -> Response:
        """Name the version that answers."""
        return OrJson({"model_version": served.version, "arm": served.arm, "mlflow": mlflow_version})

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        """Describe the service, without anything from elsewhere."""
        schema = app.openapi()
        paths = "".join(
            f"<dt><code>{method.upper()} {escape(path)}</code></dt><dd>{escape(one['description'])}</dd>"
            for path, methods in schema["paths"].items()
            for method, one in methods.items()
        )
        text = {
            "version": served.version, "arm": served.arm, "curl": curl(str(request.base_url).rstrip("/")),
            "body": json.dumps(ASKED, indent=2),
        }  # fmt: skip
        return HTMLResponse(_PAGE.format(paths=paths, **{name: escape(value) for name, value in text.items()}))

    @app.exception_handler(Failed)
    async def failed(_: Request, error: Failed) -> Response:
        busy = {"Retry-After": "5"} if error.status == 503 else None
        return OrJson({"error_code": error.code, "message": error.message}, error.status, busy)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return OrJson({"error_code": "BAD_REQUEST", "message": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def crashed(_: Request, __: Exception) -> Response:
        # uvicorn logs the traceback, which is none of the client's business.
        message = "the server failed; its log says why"
        return OrJson({"error_code": "INTERNAL_ERROR", "message": message}, 500)

    return Linger(app, limits)


def curl(url: str) -> str:
    """Return a command that asks the server at `url` about a small image."""
    return f"curl {url}/invocations -H 'Content-Type: application/json' -d '{json.dumps(example())}'"


async def _unless_gone(request: Request, work: Work, rows: list[Reply]) -> list[Reply]:
    """Return the replies; as soon as the client goes away, what is not yet begun is cancelled."""
    answer = asyncio.ensure_future(_refused(work.replies(rows)))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Failed(400, "the client went away")
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(replies: Any) -> list[Reply]:
    """Return the replies; the model's refusals (`Refused`) become errors of the client."""
    try:
        return list(await replies)
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        raise Failed(400, error.message, error.error_code) from None
