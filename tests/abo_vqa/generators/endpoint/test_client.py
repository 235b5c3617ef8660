"""What is sent to a server, what it refuses, and that the key shows nowhere."""

import io
import logging
from collections.abc import Callable
from typing import Any

import openai
import pytest
from PIL import Image

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import ParamsError
from abo_vqa.generators.endpoint.client import data_url, read_key
from abo_vqa.generators.output_schema import question_schema
from faulty_server import FaultyServer, image_of

Make = Callable[..., Any]
KEY = "sk-Secret_0123456789"


def test_what_is_sent(project: Make, server: FaultyServer) -> None:
    made = project(2)
    made.run(temperature=0.2, max_tokens=77, longest_word=9)
    first, second = sorted(server.bodies, key=lambda body: made.images.index(image_of(body)))
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("tiny", 0.2, 77)
    assert first["response_format"]["json_schema"]["schema"] == question_schema(120, 9)
    [message] = first["messages"]
    picture, text = message["content"]
    assert message["role"] == "user" and picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"].startswith("Look at the product in the image")
    assert first["seed"] != second["seed"] and 0 <= first["seed"] < 2**31
    assert {header["authorization"] for header in server.headers} == {"Bearer none"}
    made.run(temperature=None, seed=False, structured="off")
    assert server.bodies[-1].keys() == {"model", "messages", "max_tokens"}


def test_large_images_are_downscaled_and_rare_formats_converted() -> None:
    def file(size: tuple[int, int], kind: str, mode: str = "RGB") -> bytes:
        with io.BytesIO() as written:
            Image.new(mode, size, 120).save(written, kind)
            return written.getvalue()

    def sent(data: bytes, side: int | None) -> tuple[str, bytes]:
        url = data_url("a.jpg", data, side)
        return url.partition(";")[0], image_of({"messages": [{"content": [part(url)]}]})

    def part(url: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": url}}

    small = file((40, 30), "JPEG")
    assert sent(small, 40) == sent(small, None) == ("data:image/jpeg", small), "as it is"
    kind, smaller = sent(file((40, 30), "PNG"), 20)
    assert kind == "data:image/jpeg" and Image.open(io.BytesIO(smaller)).size == (20, 15)
    kind, converted = sent(file((40, 30), "TIFF", "L"), None)
    assert kind == "data:image/jpeg" and Image.open(io.BytesIO(converted)).size == (40, 30)


@pytest.mark.parametrize(("structured", "refusals"), [("auto", 1), ("off", 0)])
def test_a_server_without_structured_output_is_asked_without(
    project: Make, server: FaultyServer, structured: str, refusals: int
) -> None:
    made = project(5)
    server.refuses = lambda body: "response_format is not supported" if "response_format" in body else None
    assert len(made.run(structured=structured, in_flight=1)) == 5
    assert sum("response_format" in body for body in server.bodies) == refusals
    assert made.report["schema_sent"] == 0


def test_structured_output_that_is_wanted_is_not_left_out(project: Make, server: FaultyServer) -> None:
    server.refuses = lambda body: "response_format is not supported" if "response_format" in body else None
    with pytest.raises(InputError, match=r"http_400: .*response_format is not supported"):
        project(5).run(structured="on", max_failures=2)
    assert server.computed.total() == 0


def test_another_refusal_does_not_drop_the_schema(project: Make, server: FaultyServer) -> None:
    made = project(5)
    server.fault = lambda image, n: 400 if image == made.images[0] else None
    assert len(made.run(max_unanswered=0.2, in_flight=1)) == 4
    assert made.report["schema_sent"] == 4


def test_the_other_name_of_max_tokens_is_found(project: Make, server: FaultyServer) -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.refuses = lambda body: said if "max_tokens" in body else None
    made = project(3)
    assert len(made.run(max_tokens=50, in_flight=1)) == 3
    assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 50, 50, 50]
    assert made.report["schema_sent"] == 3


@pytest.mark.parametrize("fault", [400, 401, 404, 500, (429, {"Retry_After": "0.01"})])
def test_the_key_shows_nowhere(
    project: Make,
    server: FaultyServer,
    fault: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not even if the server repeats it, with every message of every library switched on."""
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    server.fault_text = f"Incorrect API key: {KEY}"
    made, write = project(4), server.write
    server.write = lambda image, body: write(image, body) + KEY
    failing = made.images[2:]
    server.fault = lambda image, n: fault if image in failing else None
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as stopped:
        made.run(api_key_env="MY_KEY", max_failures=2, retries=1, in_flight=1)
    shown = f"{stopped.getrepr(style='long', showlocals=False)}{caplog.text}{capsys.readouterr()}"
    assert "Incorrect API key: ***" in shown
    assert KEY not in shown
    assert len(caplog.records) > 10
    assert KEY.encode() not in made.kept_bytes()
    assert {header["authorization"] for header in server.headers} == {f"Bearer {KEY}"}
    server.fault = lambda image, n: None
    assert KEY not in str(made.run()) + str(made.report) + str(made.logged)
    assert KEY.encode() not in made.kept_bytes()


@pytest.mark.parametrize("key", [None, "", " \n", "sk-one\nsk-two", "sk-schlüssel", "sk two"])
def test_a_key_that_cannot_be_one_is_not_shown(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(InputError) as refused:
        read_key("MY_KEY")
    assert "MY_KEY" in str(refused.value) and "sk" not in str(refused.value).replace("ask", "")


def test_no_key_goes_to_a_server_that_needs_none(
    project: Make, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    project(1).run()
    assert KEY not in str(server.headers)
    assert read_key(None) is None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"base_url": "http://me:Secret@host/v1"}, "neither user, password nor query"),
        ({"base_url": "http://Secret@host/v1"}, "neither user, password nor query"),
        ({"base_url": "https://host/v1?api_key=Secret"}, "neither user, password nor query"),
        ({"base_url": "localhost:8000/v1"}, "must begin with http:// or https://"),
        ({"base_url": "https:///v1"}, "must begin with http:// or https://"),
        ({"api_key_env": "sk-Secret"}, "the name of an environment variable in capitals"),
        ({"api_key_env": "Secret0123456789"}, "never the key itself"),
        ({"budget": {"requests": None, "tokens": None, "money": 5.0}}, "budget.money needs price_input"),
        ({"price_input": 1.0}, "give both or neither"),
        ({"structured": True}, "structured"),
    ],
)
def test_impossible_settings_are_refused_without_showing_a_secret(
    project: Make, setting: dict[str, Any], says: str
) -> None:
    made = project(1)
    made.settings |= setting
    with pytest.raises(ParamsError) as refused:
        made.params()
    assert "generate.endpoint" in str(refused.value) and says in str(refused.value)
    assert "Secret" not in str(refused.value)


def test_the_client_is_told_how_often_and_how_long(
    project: Make, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(1)
    opened: list[dict[str, Any]] = []
    real = openai.AsyncOpenAI

    def client(**settings: Any) -> Any:
        opened.append(settings)
        return real(**settings)

    monkeypatch.setattr(openai, "AsyncOpenAI", client)
    made.run(retries=2, timeout_s=7.0)
    assert (opened[0]["max_retries"], opened[0]["timeout"]) == (2, 7.0)
