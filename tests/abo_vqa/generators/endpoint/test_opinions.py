"""A second opinion: asked without the proposed answer, compared by type, and nothing else changes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import ParamsError
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.endpoint.opinions import add_opinions
from abo_vqa.questions.parse import flatten
from abo_vqa.questions.second_opinion import agreement
from faulty_server import FaultyServer

Make = Callable[..., Any]


def outputs_of(made: Any, **changes: str) -> tuple[list[RawOutput], dict[str, bytes]]:
    """Return an output with five questions for each image of a project, and the images by path."""
    images = {f"00/{number:08x}.png": data for number, data in enumerate(made.images)}
    texts = {path: changes.get(f"P{n}", made.server.write(data, {})) for n, (path, data) in enumerate(images.items())}
    return [RawOutput(f"P{n}", path, "metadata", 1, text) for n, (path, text) in enumerate(texts.items())], images


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"][1]["text"])


def test_questions_are_asked_without_the_answer_and_agreement_is_counted(project: Make, server: FaultyServer) -> None:
    made = project(6)
    made.values["generate"]["verify"] |= {"source": "endpoint", "model": "second"}
    outputs, images = outputs_of(made, P5="no JSON")
    # Always right about numbers, in a word; of the others about yes alone.
    server.write = lambda image, body: next(
        (said for begins, said in (("How many", "Three."), ("Is it", "Yes")) if prompt_of(body).startswith(begins)),
        "blue",
    )
    told, report = add_opinions(outputs, images, made.params(), made.tracked)
    assert [asdict(one) | {"opinions": None} for one in told] == [asdict(one) for one in outputs]
    assert (report["asked"], report["unanswered"], report["model"]) == (25, 0, "second")
    assert server.asked.total() == 25
    assert {body["model"] for body in server.bodies} == {"second"}
    assert not any("response_format" in body for body in server.bodies)
    orders = {prompt_of(body).partition("Options: ")[2].partition("\n")[0] for body in server.bodies}
    firsts = {order.split(", ")[0] for order in orders}
    assert {"red", "blue", "green", "tan"} <= firsts, "the answer's place says nothing"
    found = agreement([q for q in flatten(told).questions if q.question_type in ("counting", "comparison")], told)
    assert {kind: (one["asked"], one["agree"]) for kind, one in found.items()} == {
        "counting": (5, 5), "comparison": (5, 0),
    }  # fmt: skip
    assert found["counting"]["low"] < 1 == found["counting"]["share"] == found["counting"]["high"]
    assert made.logged["verify/images"] == 25
    asked = server.asked.total()
    assert add_opinions(outputs, images, made.params(), made.tracked) == (told, report)
    assert server.asked.total() == asked, "nothing is asked twice"


def test_missing_opinions_stop_the_stage_and_come_later(project: Make, server: FaultyServer) -> None:
    made = project(3)
    made.values["generate"]["verify"]["source"] = "endpoint"
    made.settings |= {"retries": 0}
    outputs, images = outputs_of(made)
    server.write = lambda image, body: "red"
    server.fault = lambda image, n: 413 if image == made.images[1] else None
    with pytest.raises(InputError, match="5 of 15 questions have no second opinion"):
        add_opinions(outputs, images, made.params(), made.tracked)
    server.fault = lambda image, n: None
    told, _ = add_opinions(outputs, images, made.params(), made.tracked)
    assert [len(one.opinions or {}) for one in told] == [5, 5, 5]


def test_the_first_servers_key_does_not_go_to_the_second(project: Make) -> None:
    made = project(1)
    made.settings["api_key_env"] = "FIRST"
    verify = made.values["generate"]["verify"]
    server = made.params().generate.verify.server(made.params().generate.endpoint)
    assert (server.api_key_env, server.base_url) == ("FIRST", made.server.url)
    verify["base_url"] = "http://other/v1"
    server = made.params().generate.verify.server(made.params().generate.endpoint)
    assert (server.api_key_env, server.base_url) == (None, "http://other/v1")
    verify["base_url"] = "http://me:Secret@other/v1"
    with pytest.raises(ParamsError) as refused:
        made.params()
    assert "neither user, password nor query" in str(refused.value) and "Secret" not in str(refused.value)


def test_outputs_are_written_as_ever_without_opinions(project: Make) -> None:
    from abo_vqa.generators.stage import _row

    output = RawOutput("P", "a.png", "metadata", 1, "{}")
    assert "opinions" not in _row(output) and RawOutput(**json.loads(json.dumps(_row(output)))) == output
    row = json.loads(json.dumps(_row(RawOutput("P", "a.png", "metadata", 1, "{}", opinions={"0": "red"}))))
    assert RawOutput(**row).opinions == {"0": "red"}
