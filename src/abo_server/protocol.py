"""uvicorn's HTTP/1.1 protocol, which closes the connections of clients that are slow on purpose."""

from asyncio import TimerHandle, Transport
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from abo_server.limits import Limits


def timed_protocol(limits: Limits) -> type[H11Protocol]:
    """Return the protocol for uvicorn's setting `http`; the time of a body is limited where it is read."""

    class TimedProtocol(H11Protocol):
        """Closes a connection without whole headers, or whose client does not take the answer, in time."""

        _headers: TimerHandle | None = None

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            """Begin to wait for headers."""
            super().connection_made(transport)
            self._await_headers()

        def on_response_complete(self) -> None:
            """Wait for the client to take the answer, and for the next headers."""
            super().on_response_complete()
            transport: Any = self.transport
            self.loop.call_later(limits.send_seconds, _abort_if_full, transport)
            if not transport.is_closing():
                self._await_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            """End the wait."""
            if self._headers:
                self._headers.cancel()
            super().connection_lost(exc)

        def _await_headers(self) -> None:
            if self._headers:
                self._headers.cancel()
            self._headers = self.loop.call_later(limits.header_seconds, self._close_without_headers)

        def _close_without_headers(self) -> None:
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

    return TimedProtocol


def _abort_if_full(transport: Any) -> None:
    if transport.get_write_buffer_size():
        transport.abort()
