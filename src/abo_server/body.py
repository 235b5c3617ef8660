"""Read a request's body within a budget of bytes and time, and its JSON as rows."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from abo_server.limits import Failed, Limits

JSON = "application/json"
_INPUTS = ("dataframe_records", "dataframe_split", "inputs", "instances")
_FORMS = f"must be a JSON object with exactly one of {', '.join(_INPUTS)}"
Row = dict[str, Any]


class Room:
    """Memory for the bodies of all requests; whoever finds none waits, and is refused after `room_seconds`."""

    def __init__(self, limits: Limits) -> None:
        self._left, self._limits, self._changed = limits.bodies, limits, asyncio.Condition()

    async def take(self, count: int) -> None:
        """Reserve bytes; raises Failed with status 503 if others keep them too long."""
        try:
            async with asyncio.timeout(self._limits.room_seconds), self._changed:
                await self._changed.wait_for(lambda: count <= self._left)
                self._left -= count
        except TimeoutError:
            raise Failed(
                503, "the server is busy with other requests; try again later", "TEMPORARILY_UNAVAILABLE"
            ) from None

    async def give_back(self, count: int) -> None:
        """Free bytes."""
        async with self._changed:
            self._left += count
            self._changed.notify_all()


@asynccontextmanager
async def read_body(request: Request, room: Room, limits: Limits) -> AsyncIterator[bytearray]:
    """Yield a request's JSON text, and free its memory afterwards; raises Failed.

    A body that declares too many bytes is refused before it is read; one that declares none is counted meanwhile.
    """
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if kind.strip() != JSON or charset not in ("", "charset=utf-8") or request.headers.get("content-encoding"):
        raise Failed(415, f"the body must be {JSON} in UTF-8, not encoded further; Content-Type says so")
    declared = int(request.headers.get("content-length", 0))  # uvicorn has checked that it is a number
    if declared > limits.body:
        raise Failed(413, _too_large(limits))
    body, taken = bytearray(), [0]  # memory is taken for what has come: a slow client would keep what it declares
    try:
        await _collect(request, body, taken, room, limits)
        yield body
    finally:
        await room.give_back(taken[0])


async def _collect(request: Request, body: bytearray, taken: list[int], room: Room, limits: Limits) -> None:
    """Read into `body`; taken: the bytes reserved of `room`."""
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                if len(body) + len(part) > limits.body:
                    raise Failed(413, _too_large(limits))
                await room.take(len(part))
                taken[0] += len(part)
                body += part
    except TimeoutError:
        raise Failed(408, f"the body took longer than {limits.body_seconds:g} s") from None
    except ClientDisconnect:
        raise Failed(400, "the client went away") from None


def rows_of(body: bytes | bytearray, limits: Limits) -> list[Row]:
    """Return the rows of a request in any of MLflow's forms; raises Failed with status 400."""
    # A list of a million empty lists has few characters and takes a hundred times their memory.
    if sum(map(body.count, (b",", b"[", b"{"))) > limits.values:
        raise Failed(400, f"the JSON has more than {limits.values} values; send several requests")
    try:
        # It refuses deep nesting, NaN and half characters.
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Failed(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(given, dict):
        raise Failed(400, f"the body {_FORMS}")
    if unknown := [key for key in given if key not in _INPUTS]:
        raise Failed(400, f"{_shown(unknown[0])}: unknown; the body {_FORMS}")
    if len(given) != 1:
        raise Failed(400, f"{len(given)} given; the body {_FORMS}")
    [(form, value)] = given.items()
    if form == "dataframe_split":
        return _of_split(value)
    if form != "dataframe_records" and isinstance(value, dict):
        value = _of_columns(form, value)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise Failed(400, f"{form}: must be a list of objects, one for each question")
    return value


def _of_split(value: Any) -> list[Row]:
    columns, data = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
    if (
        not isinstance(columns, list)
        or not isinstance(data, list)
        or not all(isinstance(name, str) for name in columns)
    ):
        raise Failed(400, "dataframe_split: must have columns, a list of names, and data, a list of rows")
    if len(set(columns)) != len(columns):
        raise Failed(400, "dataframe_split: a column is named twice")
    for place, cells in enumerate(data):
        if not isinstance(cells, list) or len(cells) != len(columns):
            raise Failed(400, f"dataframe_split: row {place} must be a list of {len(columns)} values, one a column")
    return [dict(zip(columns, cells, strict=True)) for cells in data]


def _of_columns(form: str, value: Mapping[str, Any]) -> list[Row]:
    """Return the rows of columns, each with a list of values, or of one row. An image is a text, in columns a list."""
    if not isinstance(value.get("image"), list):
        return [dict(value)]
    lengths = {len(cells) if isinstance(cells, list) else -1 for cells in value.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise Failed(400, f"{form}: its columns must be lists of the same length")
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def _too_large(limits: Limits) -> str:
    return f"the body has more than {limits.body / 1e6:g} MB; send fewer or smaller images"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
