"""ASGI middleware: an answer that comes before the whole body reaches a client that is still sending."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from abo_server.limits import Limits


class Linger:
    """Reads and drops the rest of a body after the answer, for a few seconds, and then closes the connection.

    Closing at once would reset the connection: most clients then report that instead of the answer.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        names = {name for name, _ in scope["headers"]}
        whole = not names & {b"content-length", b"transfer-encoding"} or (b"content-length", b"0") in scope["headers"]

        async def watched() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def lingering(message: Any) -> None:
            if whole:
                return await send(message)
            if message["type"] == "http.response.start":
                return await send(message | {"headers": [*message["headers"], (b"connection", b"close")]})
            last = not message.get("more_body", False)
            await send(message | {"more_body": True})
            if last:
                try:
                    async with asyncio.timeout(self._limits.linger_seconds):
                        while not whole:
                            await watched()
                except TimeoutError:
                    pass
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, watched, lingering)
