"""An OpenAI-compatible server on loopback that misbehaves as told, and counts what it answered."""

import base64
import json
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RESET, HALF, SHORT, SILENCE, WRONG_JSON = "reset", "half", "short", "silence", "wrong_json"

# What a request does: one of the names above, a status, a status with headers, or None for an answer.
Fault = str | int | tuple[int, dict[str, str]] | None


class FaultyServer(ThreadingHTTPServer):
    """Answers about an image with `write(image, body)`; `fault(image, n)` says what its n-th request meets."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.lock = threading.Lock()
        self.write: Callable[[bytes, dict[str, Any]], str | dict[str, Any]] = lambda image, body: "{}"
        self.fault: Callable[[bytes, int], Fault] = lambda image, number: None
        self.knows_keys = True
        self.refuses: Callable[[dict[str, Any]], str | None] = lambda body: None
        self.fault_text = "fault"
        self.delay, self.silence = 0.0, 1.0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked: Counter[bytes] = Counter()
        self.times: dict[bytes, list[float]] = defaultdict(list)
        self.computed: Counter[bytes] = Counter()  # answers made
        self.sent: Counter[bytes] = Counter()  # answers sent to the end, made before or not
        self.kept: dict[str, str | dict[str, Any]] = {}
        self.closing = threading.Event()
        self.most_at_once = self.at_once = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, format: str, *args: Any) -> None:
        """Quietly."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image = image_of(body)
        with server.lock:
            server.bodies.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            number = server.asked[image]
            server.asked[image] += 1
            server.times[image].append(time.monotonic())
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            self.respond(body, image, number)
        finally:
            with server.lock:
                server.at_once -= 1

    def respond(self, body: dict[str, Any], image: bytes, number: int) -> None:
        server = self.server
        if self.path != "/v1/chat/completions":
            return self.send(404, {"error": {"message": f"no {self.path}"}})
        if refused := server.refuses(body):
            return self.send(400, {"error": {"message": refused}})
        fault = server.fault(image, number)
        if fault == RESET:
            # Without waiting for what is under way: the peer sees a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return None
        if fault == SILENCE:
            server.closing.wait(server.silence)
            self.close_connection = True
            return None
        if isinstance(fault, int):
            return self.send(fault, {"error": {"message": f"{server.fault_text} {fault}"}})
        if isinstance(fault, tuple):
            return self.send(fault[0], {"error": {"message": f"{server.fault_text} {fault[0]}"}}, **fault[1])
        if fault == WRONG_JSON:
            return self.send(200, {"choices": "none"})
        server.closing.wait(server.delay)
        key = self.headers.get("Idempotency-Key", "")
        with server.lock:
            if not server.knows_keys or key not in server.kept:
                server.computed[image] += 1
                server.kept[key] = server.write(image, body)
            written = server.kept[key]
        response = json.dumps(written if isinstance(written, dict) else completion(written)).encode()
        if fault == SHORT:  # without a length, so that only the JSON tells
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(response[: len(response) // 2])
            self.close_connection = True
            return None
        self.send(200, response, cut=fault == HALF)
        if fault is None:
            with server.lock:
                server.sent[image] += 1
        return None

    def send(self, status: int, response: Any, cut: bool = False, **headers: str) -> None:
        data = response if isinstance(response, bytes) else json.dumps(response).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        if cut:
            self.close_connection = True


def image_of(body: dict[str, Any]) -> bytes:
    """Return the file of a request's image; empty without one."""
    for part in body["messages"][-1]["content"]:
        if part["type"] == "image_url":
            return base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
    return b""


def completion(text: str, **changes: Any) -> dict[str, Any]:
    """Return a response as OpenAI's."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}} | changes
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny-1",
        "choices": [choice],
        "usage": usage,
    }


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """Run a server in a thread."""
    server = FaultyServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
