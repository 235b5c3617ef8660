"""The server over real sockets: hostile, broken, slow and impatient clients, and innocent ones beside them."""

import base64
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any

import pytest
from PIL import Image

from abo_server.app import curl
from abo_server.limits import Limits
from abo_server.openapi import example
from small_server import Echo, running

Server = tuple[str, int, Echo]
GOOD = {"image": "a", "question": "What?"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(Limits(body=1_000_000, linger_seconds=0.5)) as found:
        yield found


def post(server: Server, body: Any, kind: str | None = "application/json") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server[0]}:{server[1]}/invocations", data)
    if kind is not None:
        request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(server: Server, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{server[0]}:{server[1]}{path}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def raw(server: Server, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts over a socket, then return all that comes until the server closes the connection."""
    with socket.create_connection(server[:2], timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


def head(length: int | None, more: str = "") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{size}\r\n{more}\r\n".encode()


def records(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_records": list(rows)}


def test_rows_are_answered_in_their_order(server: Server) -> None:
    rows = [{"image": "ab"[place % 2], "question": str(place)} for place in range(100)]
    status, found = post(server, records(*rows))
    assert status == 200
    assert [one["answer"] for one in found["predictions"]] == [row["question"] for row in rows]
    assert set(found["predictions"][0]) == {"answer", "probabilities", "model_version"}


def test_every_form_of_mlflow_is_taken(server: Server) -> None:
    row = GOOD | {"options": ["red", "blue"]}
    bodies = [
        records(row),
        {"dataframe_split": {"index": [7], "columns": list(row), "data": [list(row.values())]}},
        {"inputs": [row]}, {"inputs": row}, {"instances": [row]}, {"inputs": {name: [row[name]] for name in row}},
    ]  # fmt: skip
    found = [post(server, body, "application/json; charset=utf-8") for body in bodies]
    assert found == [found[0]] * len(bodies) and found[0][0] == 200


WRONG: dict[str, tuple[bytes, str]] = {
    "nested 100,000 deep": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "JSON"),
    "nested 50,000 deep": (b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "not valid JSON"),
    "objects in objects": (b'{"inputs":' * 20_000 + b"1" + b"}" * 20_000, "not valid JSON"),
    "a number of 5,000 digits": (b'{"inputs": [{"image": ' + b"9" * 5000 + b', "question": "a"}]}', ""),
    "5,000 digits behind the point": (b'{"inputs": [{"image": 0.' + b"9" * 5000 + b', "question": "a"}]}', ""),
    "NaN": (b'{"inputs": [{"image": NaN, "question": "a"}]}', "not valid JSON"),
    "Infinity": (b'{"inputs": [{"image": "a", "question": -Infinity}]}', "not valid JSON"),
    "a lone surrogate": (b'{"inputs": [{"image": "a", "question": "\\ud800"}]}', "not valid JSON"),
    "bytes that are no UTF-8": (b'{"inputs": [{"image": "a", "question": "\xff"}]}', "not valid JSON"),
    "UTF-16": ('{"inputs": [{"image": "a", "question": "b"}]}'.encode("utf-16"), "not valid JSON"),
    "nothing": (b"", "not valid JSON"),
    "half a body": (b'{"inputs": [{"image": "a"', "not valid JSON"),
    "a list": (b'[{"image": "a", "question": "b"}]', "must be a JSON object with exactly one of"),
    "a text": (b'"inputs"', "must be a JSON object with exactly one of"),
    "another key": (b'{"rows": []}', "'rows': unknown; the body must be"),
    "two forms": (b'{"inputs": [], "instances": []}', "2 given"),
    "no form": (b"{}", "0 given"),
    "a number as rows": (b'{"inputs": 5}', "inputs: must be a list of objects"),
    "texts as rows": (b'{"dataframe_records": ["a"]}', "dataframe_records: must be a list of objects"),
    "a split without columns": (b'{"dataframe_split": {"data": [["a"]]}}', "dataframe_split: must have columns"),
    "a short row in a split": (
        b'{"dataframe_split": {"columns": ["image", "question"], "data": [["a", "b"], ["a"]]}}',
        "row 1 must be a list of 2",
    ),
    "a column twice": (b'{"dataframe_split": {"columns": ["image", "image"], "data": []}}', "a column is named twice"),
    "columns of two lengths": (b'{"inputs": {"image": ["a"], "question": []}}', "lists of the same length"),
    "an unknown column": (b'{"inputs": [{"image": "a", "question": "b", "option": []}]}', "row 0: wrong"),
    "no row": (b'{"inputs": []}', "0 rows given"),
    "a broken image": (b'{"inputs": [{"image": "broken", "question": "b"}]}', "row 0: the image is broken"),
    "a hundred thousand empty lists": (b'{"inputs": [' + b"[]," * 100_000 + b"[]]}", "more than 100000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body_is_refused_with_the_reason(server: Server, name: str) -> None:
    body, says = WRONG[name]
    status, found = post(server, body)
    assert status == 400 and says in found["message"] and set(found) == {"error_code", "message"}
    assert len(found["message"]) < 500 and "Traceback" not in found["message"] and "File " not in found["message"]
    assert post(server, records(GOOD))[0] == 200


@pytest.mark.parametrize(
    "kind", ["text/csv", "application/x-www-form-urlencoded", "text/plain", "image/png", "", None,
             "application/json; charset=latin-1"],
)  # fmt: skip
def test_only_json_is_offered(server: Server, kind: str | None) -> None:
    """A web page of another origin may send forms and plain text without asking."""
    status, found = post(server, records(GOOD), kind)
    assert status == 415 and "must be application/json" in found["message"]


def test_a_compressed_body_is_refused(server: Server) -> None:
    said = raw(server, head(4, "Content-Encoding: gzip\r\nConnection: close\r\n"), b"abcd")
    assert said.startswith(b"HTTP/1.1 415 ")


def test_a_body_that_declares_too_much_is_refused_before_it_is_read(server: Server) -> None:
    """The server must answer although not a byte of the body has come."""
    with socket.create_connection(server[:2], timeout=20) as connection:
        connection.sendall(head(200_000_000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(server[:2], timeout=20) as connection:
        connection.sendall(head(200_000_000, "Expect: 100-continue\r\n"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_is_still_sending_sees_the_answer(server: Server) -> None:
    status, found = post(server, b"[" * 20_000_000)
    assert status == 413 and found["message"] == "the body has more than 1 MB; send fewer or smaller images"


def test_a_chunked_body_is_counted_while_it_is_read(server: Server) -> None:
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    said = raw(server, head(None), *[chunk] * 5, b"40000\r\n")  # it never ends
    assert said.startswith(b"HTTP/1.1 413 ")
    whole = json.dumps(records(GOOD)).encode()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (whole[:9], whole[9:]))
    said = raw(server, head(None, "Connection: close\r\n"), parts + b"0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ") and b'"answer":"What?"' in said


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 9a\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400 "),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 4"),
    ],
)
def test_broken_http_is_refused(server: Server, sent: bytes, says: bytes) -> None:
    try:
        said = raw(server, sent, b"\r\n\r\n")
    except ConnectionResetError:
        said = says
    assert said.startswith(says) and b"Traceback" not in said


def test_other_paths_and_methods(server: Server) -> None:
    assert json.loads(get(server, "/health")[1]) == json.loads(get(server, "/ping")[1]) == {"status": "ok"}
    assert json.loads(get(server, "/version")[1]) == {
        "model_version": Echo.version, "arm": "options", "mlflow": "3",
    }  # fmt: skip
    assert get(server, "/invocations")[0] == 405 and get(server, "/etc/passwd")[0] == 404
    assert get(server, "/..%2f..%2fetc/passwd")[0] == 404
    schema = json.loads(get(server, "/openapi.json")[1])
    assert set(schema["paths"]) == {"/invocations", "/ping", "/health", "/version"}


def test_the_page_loads_nothing_and_shows_a_command(server: Server) -> None:
    class Page(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: set[str] = set()
            self.text = ""

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.tags.add(tag)
            assert not [value for name, value in attrs if name == "src"]

        def handle_data(self, data: str) -> None:
            self.text += data

    page = Page()
    page.feed(get(server, "/docs")[1].decode())
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert curl(f"http://127.0.0.1:{server[1]}") in page.text and Echo.version in page.text


def test_an_error_of_the_server_shows_nothing_of_it(server: Server) -> None:
    status, found = post(server, records({"image": "bug", "question": "a"}))
    assert (status, found) == (500, {"error_code": "INTERNAL_ERROR", "message": "the server failed; its log says why"})
    assert post(server, records(GOOD))[0] == 200


def test_two_hundred_requests_at_once_are_all_answered(server: Server) -> None:
    with ThreadPoolExecutor(200) as threads:
        found = list(threads.map(lambda n: post(server, records(GOOD | {"question": str(n)})), range(200)))
    assert [(status, one["predictions"][0]["answer"]) for status, one in found] == [(200, str(n)) for n in range(200)]


def test_a_small_image_does_not_wait_for_large_ones(server: Server) -> None:
    with ThreadPoolExecutor(6) as threads:
        started = time.monotonic()
        large = [threads.submit(post, server, records({"image": "slow", "question": str(n)})) for n in range(5)]
        time.sleep(0.1)
        assert post(server, records({"image": "b", "question": "innocent"}))[0] == 200
        assert not any(one.done() for one in large[1:]), "answered before the large ones, which take half a second each"
        assert [one.result()[0] for one in large] == [200] * 5
    assert time.monotonic() - started > 2, "large images are read one after another"


def test_work_whose_client_is_gone_is_not_done() -> None:
    with running() as server:
        model = server[2]
        model.may_answer.clear()
        body = json.dumps(records(*[{"image": str(n), "question": f"gone {n}"} for n in range(5)])).encode()
        with socket.create_connection(server[:2]) as connection:
            connection.sendall(head(len(body)) + body)
            while len(model.read_images) < 5:
                time.sleep(0.01)
        time.sleep(0.3)
        model.may_answer.set()
        assert post(server, records(GOOD))[0] == 200
        time.sleep(0.1)
        assert model.answered == ["gone 0", "What?"], "only the question that was being answered"


def test_a_request_that_takes_too_long_is_told_so() -> None:
    with running(Limits(answer_seconds=0.3)) as server:
        server[2].may_answer.clear()
        status, found = post(server, records(GOOD))
        assert status == 503 and "no answer within 0.3 s" in found["message"]
        server[2].may_answer.set()
        assert post(server, records(GOOD))[0] == 200


def test_too_many_requests_are_told_so() -> None:
    with running(Limits(waiting=2)) as server, ThreadPoolExecutor(2) as threads:
        server[2].may_answer.clear()
        waiting = [threads.submit(post, server, records(GOOD)) for _ in range(2)]
        time.sleep(0.5)
        assert post(server, records(GOOD))[0] == 503
        server[2].may_answer.set()
        assert [one.result()[0] for one in waiting] == [200, 200]


def test_a_budget_of_decoding(server: Server) -> None:
    with running(Limits(decode_seconds=0.4)) as slow:
        status, found = post(slow, records({"image": "slow", "question": "a"}))
    assert status == 400 and "decoding the images took" in found["message"]


def test_bodies_wait_for_each_others_memory() -> None:
    with running(Limits(bodies=1000, room_seconds=0.3, body_seconds=20)) as server:
        with socket.create_connection(server[:2]) as connection:
            connection.sendall(head(2000) + b" " * 900)
            time.sleep(0.2)
            status, found = post(server, b" " * 500 + json.dumps(records(GOOD)).encode())
            assert status == 503 and "busy" in found["message"]
        time.sleep(0.2)
        assert post(server, records(GOOD))[0] == 200


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    with running(Limits(header_seconds=0.5, body_seconds=0.5, send_seconds=0.5, linger_seconds=0.2)) as found:
        yield found


@pytest.mark.parametrize("sent", [b"", b"POST /invoc", b"POST /invocations HTTP/1.1\r\nHost: a\r\nX-"])
def test_a_client_without_headers_is_closed(impatient: Server, sent: bytes) -> None:
    started = time.monotonic()
    assert raw(impatient, sent) == b""
    assert time.monotonic() - started < 5


def test_a_client_that_sends_its_headers_drop_by_drop_is_closed(impatient: Server) -> None:
    with pytest.raises(OSError):
        raw(impatient, *[b"X"] * 100, pause=0.05)


def test_a_client_whose_body_drips_is_told_and_closed(impatient: Server) -> None:
    said = b""
    with socket.create_connection(impatient[:2], timeout=20) as connection:
        connection.sendall(head(100))
        try:
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        try:
            said = connection.recv(65536)
        except OSError:
            return
    assert not said or said.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_stops_in_its_body_gets_408(impatient: Server) -> None:
    said = raw(impatient, head(100) + b"{")
    assert said.startswith(b"HTTP/1.1 408 ") and b"the body took longer than 0.5 s" in said


def test_a_second_request_on_a_connection_is_answered(server: Server) -> None:
    body = json.dumps(records(GOOD)).encode()
    last = head(len(body), "Connection: close\r\n") + body
    assert raw(server, head(len(body)) + body, last, pause=0.2).count(b"HTTP/1.1 200 ") == 2


def test_an_idle_connection_is_closed_after_its_answer(impatient: Server) -> None:
    started = time.monotonic()
    assert raw(impatient, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - started < 5


def test_the_example_is_a_small_image() -> None:
    [row] = example()["dataframe_records"]
    with Image.open(io.BytesIO(base64.b64decode(row["image"]))) as image:
        assert image.size == (32, 32)
    assert len(row["image"]) < 200 and threading.active_count() < 100
