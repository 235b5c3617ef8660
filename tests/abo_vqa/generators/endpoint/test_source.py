"""The source `endpoint` against a server that fails in every way: nothing is lost, nothing is paid for twice."""

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.generators.endpoint import source
from abo_vqa.questions.parse import flatten
from faulty_server import HALF, RESET, SHORT, SILENCE, WRONG_JSON, FaultyServer, completion

Make = Callable[..., Any]
FAULTS = [None, RESET, HALF, SHORT, SILENCE, WRONG_JSON, 500, 503, (429, {"Retry_After": "0.3"})]


def test_every_fault_is_overcome_and_nothing_is_answered_twice(project: Make, server: FaultyServer) -> None:
    made = project(2 * len(FAULTS))
    expected = [server.write(image, {}) for image in made.images]
    number = {image: place for place, image in enumerate(made.images)}
    server.fault = lambda image, n: FAULTS[number[image] % len(FAULTS)] if n == 0 else None
    raw = made.run(timeout_s=0.4)
    assert [output.output for output in raw] == expected, "in the sample's order"
    assert [output.product_id for output in raw] == [f"P{n}" for n in range(len(raw))]
    assert {(o.generator, o.model, o.seed) for o in raw} == {("endpoint", "tiny", made.values["seed"])}
    assert made.asked() == [1 if fault is None else 2 for fault in FAULTS] * 2
    assert set(server.computed.values()) == {1}, "a server that knows the requests' keys answers each once"
    first, second = server.times[made.images[len(FAULTS) - 1]]
    assert second - first >= 0.3, "Retry-After"
    assert made.report["outputs"] == made.report["outputs_valid"] == len(raw)
    assert (made.report["unanswered"], made.report["failures"]) == ({}, {})
    assert made.report["questions"] == 5 * len(raw) == made.logged["generate/questions"]
    # Those that the client does not try again are tried once more at the end.
    assert made.logged["generate/failures/bad_response"] == 4
    assert len(flatten(raw).questions) == 5 * len(raw)
    asked = made.asked()
    assert made.run() == raw and made.asked() == asked, "once more: nothing is left to do"


def test_the_order_of_arrival_changes_nothing(project: Make, server: FaultyServer) -> None:
    made = project(24)
    draws = random.Random()

    def late(image: bytes, n: int) -> None:
        until = time.monotonic() + 30
        while server.most_at_once < 8 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(draws.uniform(0, 0.05))

    server.fault = late
    raw = made.run(in_flight=8, timeout_s=60.0)
    assert server.most_at_once == 8
    server.fault = lambda image, n: None
    # In the temperature's place another parameter that changes no answer of this server: all are asked for again.
    assert made.run(in_flight=1, temperature=0.1) == raw
    assert made.asked() == [2] * 24


def test_failures_are_counted_and_asked_about_again(
    project: Make, server: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = project(10)
    broken = {made.images[3]: 500, made.images[4]: 413, made.images[7]: SHORT}
    server.fault = lambda image, n: broken.get(image)
    with pytest.raises(InputError, match=r"3 of 10 images have no answer \(bad_response 1, http_413 1, http_500 1\)"):
        made.run(retries=1)
    assert [made.asked()[n] for n in (0, 3, 4, 7)] == [1, 4, 1, 2], "what the server refuses is not asked twice a run"
    capsys.readouterr()
    raw = made.run(max_unanswered=0.3)
    assert [output.product_id for output in raw] == [f"P{n}" for n in range(10) if n not in (3, 4, 7)]
    assert made.report["unanswered"] == {"http_500": 1, "http_413": 1, "bad_response": 1}
    assert (made.report["outputs"], made.report["products_without_output"]) == (7, 3)
    assert "3 of 10 images have no answer" in capsys.readouterr().out
    assert made.asked()[0] == 1
    broken.clear()
    assert len(made.run()) == 10
    assert made.report["unanswered"] == {}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (401, "api_key_env: .* refuses the key: .*fault 401.*; set api_key_env"),
        (403, "api_key_env: .* refuses the key"),
        (404, "knows no such address or no model 'tiny': .*; correct base_url, which mostly ends in /v1, or model"),
        (402, "has no credit left"),
    ],
)
def test_a_server_that_nobody_can_use_stops_the_stage_at_once(
    project: Make, server: FaultyServer, fault: Any, says: str
) -> None:
    made = project(20)
    server.fault = lambda image, n: fault if server.asked.total() > 4 else None
    with pytest.raises(InputError, match=says):
        made.run(in_flight=2)
    assert server.asked.total() <= 8
    server.fault = lambda image, n: None
    before = made.asked()
    assert len(made.run()) == 20
    assert all(now == 1 for now, was in zip(made.asked(), before, strict=True) if not was)
    assert set(server.computed.values()) == {1}


def test_failures_in_a_row_stop_the_stage(project: Make, server: FaultyServer) -> None:
    made = project(40)
    server.fault = lambda image, n: 500 if server.asked.total() > 10 else None
    with pytest.raises(InputError, match=r"3 images in a row .* http_500: .*fault 500.*; (\d+) answers are kept"):
        made.run(max_failures=3, retries=0, in_flight=2)
    answered = server.computed.total()
    assert answered >= 9 and server.asked.total() <= answered + 5
    # Images that failed before do not count again: they alone may be at fault.
    bad = set(made.images[12:18])
    server.fault = lambda image, n: 422 if image in bad else None
    raw = made.run(max_unanswered=0.2, max_failures=7)
    assert len(raw) == 34
    assert made.run(max_failures=1) == raw


def test_a_server_that_is_not_there_is_named(project: Make, server: FaultyServer) -> None:
    made = project(5)
    with pytest.raises(InputError, match=r"connection: http://127.0.0.1:9/v1: \w+, 1 times"):
        made.run(base_url="http://127.0.0.1:9/v1", retries=0, max_failures=2)


@pytest.mark.parametrize(
    ("budget", "prices", "answers", "says"),
    [
        ({"requests": 7}, {}, 7, "budget.requests: 7 of 7"),
        # 100 tokens to read, up to 50 to write: 20 of them are used.
        ({"tokens": 1000}, {}, 8, "budget.tokens: 960 of 1,000"),
        ({"money": 0.0021}, {"price_input": 1.0, "price_output": 5.0}, 9, "budget.money: 0.0018 of 0.0021"),
        ({"tokens": 40}, {}, 0, "budget.tokens: 0 of 40"),
    ],
)  # fmt: skip
def test_a_budget_is_kept_and_can_be_raised(
    project: Make, server: FaultyServer, budget: dict[str, Any], prices: dict[str, float], answers: int, says: str
) -> None:
    made = project(12)
    every = {"requests": None, "tokens": None, "money": None}
    server.delay = 0.05
    with pytest.raises(InputError, match=says) as stopped:
        made.run(budget=every | budget, max_tokens=50, in_flight=3, **prices)
    assert f"{answers} answers are kept: raise it" in str(stopped.value)
    assert server.asked.total() == answers
    with pytest.raises(InputError, match="budget"):
        made.run()
    assert server.asked.total() == answers, "what is spent stays spent"
    raw = made.run(budget=every | {name: 100 * limit for name, limit in budget.items()})
    assert len(raw) == 12 and set(made.asked()) == {1}
    assert made.report["tokens"] == {"input": 1200, "output": 240}
    assert made.report["cost"] == (0.0024 if prices else None)
    assert made.logged["generate/tokens/input"] == 1200 and made.logged["generate/requests"] == 12


def test_repetitions_count_as_requests(project: Make, server: FaultyServer) -> None:
    made = project(8)
    server.fault = lambda image, n: 503 if n < 2 else None
    with pytest.raises(InputError, match=r"budget\.requests: 8 of 8"):
        made.run(budget={"requests": 8, "tokens": None, "money": None})
    assert server.asked.total() == 8
    made.run(budget={"requests": 100, "tokens": None, "money": None})
    assert server.asked.total() == 24 == made.logged["generate/requests"]


def test_a_budget_of_tokens_needs_a_server_that_counts_them(project: Make, server: FaultyServer) -> None:
    made, write = project(6), server.write
    server.write = lambda image, body: {"choices": [{"message": {"content": write(image, body)}}]}
    limited = {"requests": None, "tokens": 100_000, "money": None}
    for _ in range(2):
        with pytest.raises(InputError, match="does not report the tokens of its answers"):
            made.run(budget=limited)
    assert server.asked.total() == 1, "the first request alone, until its size is known"
    assert len(made.run(budget=limited | {"tokens": None})) == 6
    assert made.report["tokens"] == {"input": 0, "output": 0}


def test_odd_answers_are_kept_and_counted(project: Make, server: FaultyServer) -> None:
    made, write = project(6), server.write
    valid = write(made.images[0], {})
    odd = [
        completion(valid),
        completion("", message={"role": "assistant", "content": None}),
        completion("", message={"role": "assistant", "content": None, "refusal": "I cannot help."}),
        completion(valid[:40], finish_reason="length"),
        completion(f"Here you are:\n```json\n{valid}\n```"),
        completion('{"questions": []}'),
    ]
    answers = dict(zip(made.images, odd, strict=True))
    server.write = lambda image, body: answers[image]
    raw = made.run()
    assert made.report["failures"] == {"empty": 1, "not_json": 2, "truncated": 1, "other_form": 1}
    assert (made.report["outputs"], made.report["outputs_valid"]) == (6, 1)
    parsed = flatten(raw)
    assert [output.product_id for output in parsed.unparsable] == ["P1", "P2", "P5"]
    assert sum(question.product_id == "P4" for question in parsed.questions) == 5, "fences are read"
    assert made.report["model"]["as_reported"] == ["tiny-1"]


def test_answers_are_used_again_only_for_the_same_request(project: Make, server: FaultyServer) -> None:
    made = project(3)
    made.run()
    made.images.append(b"".join([made.images[0], b" "]))
    made.run(in_flight=2, retries=0, timeout_s=9.0, max_failures=1)
    assert server.asked.total() == 4, "one image more"
    total = 4
    for changes in (
        {"model": "other"}, {"temperature": None}, {"seed": False}, {"max_tokens": 99}, {"image_side": None},
        {"structured": "off"}, {"prompt": "prompt.txt"}, {"longest_word": 9}, {"base_url": f"{server.url}/"},
    ):  # fmt: skip
        (made.folder / "prompt.txt").write_text("Ask five questions.")
        made.run(**changes)
        total += 4
        assert server.asked.total() == total, changes
    made.values["seed"] = 3
    made.settings["seed"] = True
    made.run()
    assert server.asked.total() == total + 4


def test_a_missing_prompt_is_named(project: Make) -> None:
    with pytest.raises(InputError, match=r"generate\.endpoint\.prompt: nowhere\.txt: cannot be read"):
        project().run(prompt="nowhere.txt")


def test_a_broken_image_is_named(project: Make) -> None:
    made = project(3)
    made.images[1] = b"no image"
    with pytest.raises(InputError, match=r"00/00000001\.png: its image cannot be read"):
        made.run()


def test_the_metrics_are_those_of_the_other_source(project: Make) -> None:
    made = project(4)
    made.run(price_input=1.0, price_output=2.0)
    assert made.logged["generate/images"] == 4 and made.logged["generate/images_resumed"] == 0
    assert made.logged["generate/cost"] == pytest.approx((400 + 2 * 80) / 1e6)
    assert source.GENERATOR == "endpoint" and json.dumps(made.report)
