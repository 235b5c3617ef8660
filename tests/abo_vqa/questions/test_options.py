"""Options in every form that generators write them in; what is unclear is quarantined and never invented."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.params import Params
from abo_vqa.common.params.data import ValidateParams
from abo_vqa.common.schema import RawOutput
from abo_vqa.questions.options import read_options
from abo_vqa.questions.parse import flatten
from abo_vqa.questions.validate import Curated, curate
from paths import ROOT
from shared_cases import shared_cases
from small_outputs import ANY_JSON, COUNT, GOOD, output_of, questions_of, raw

FOUR = {"red", "blue", "tan", "gray"}
ASKED = {"type": "attribute", "question": "What color is the shoe?"}
LETTERED = {"A": "red", "B": "blue", "C": "tan", "D": "gray"}


@pytest.fixture
def params(make_params: Callable[..., Params]) -> ValidateParams:
    return make_params({"validate": {"suite": str(ROOT / "expectations/questions.json")}}).validate_


# All of them say that the shoe is blue.
READABLE: list[dict[str, Any]] = [
    {"options": LETTERED, "answer": "B"},
    {"options": dict(reversed(LETTERED.items())), "answer": "B"},
    {"options": {"a)": "red", "b)": "blue", "c)": "tan", "d)": "gray"}, "answer": "(b)"},
    {"options": {f"option_{key}": value for key, value in LETTERED.items()}, "answer": "option_b"},
    {"options": {f"option{n}": value for n, value in enumerate(LETTERED.values(), 1)}, "answer": "blue"},
    {"options": {f"Option {n}": value for n, value in enumerate(LETTERED.values(), 1)}, "answer": "Option 2"},
    {"options": {str(n): value for n, value in enumerate(LETTERED.values(), 1)}, "answer": 2},
    {"options": {str(n): value for n, value in enumerate(LETTERED.values())}, "answer": "1"},
    {"options": {str(n): value for n, value in enumerate(LETTERED.values(), 1)}, "answer": "B"},
    {"options": "A) red B) blue C) tan D) gray", "answer": "B"},
    {"options": "(A) red\n(B) blue\n(C) tan\n(D) gray", "answer": "B"},
    {"options": "a. red, b. blue, c. tan, d. gray", "answer": "blue"},
    {"options": "1. red 2. blue 3. tan 4. gray", "answer": "2"},
    {"options": "Options: A: red; B: blue; C: tan; D: gray", "answer": "B"},
    {"options": "red, blue, tan, gray", "answer": "blue"},
    {"options": "red | blue | tan | gray", "answer": "Blue"},
    {"options": "- red\n- blue\n- tan\n- gray", "answer": "blue"},
    {"options": '["red", "blue", "tan", "gray"]', "answer": "blue"},
    {"options": "['red', 'blue', 'tan', 'gray']", "answer": "blue"},
    {"options": "{'A': 'red', 'B': 'blue', 'C': 'tan', 'D': 'gray'}", "answer": "B"},
    {"options": [{key: value} for key, value in LETTERED.items()], "answer": "B"},
    {"options": [{key: value} for key, value in reversed(LETTERED.items())], "answer": "B"},
    {"options": [{"label": key, "text": value} for key, value in LETTERED.items()], "answer": "B"},
    {"options": [{"id": n, "option": value} for n, value in enumerate(LETTERED.values(), 1)], "answer": "2"},
    {"options": [{"option": key, "value": value} for key, value in LETTERED.items()], "answer": "B"},
    {"options": [{"text": value, "correct": value == "blue"} for value in LETTERED.values()], "answer": "blue"},
    {"options": [f"{key}) {value}" for key, value in LETTERED.items()], "answer": "B"},
    {"options": [f"{key} {value}" for key, value in LETTERED.items()], "answer": "blue"},
    {"options": [f"{n}. {value}" for n, value in enumerate(LETTERED.values(), 1)], "answer": "2"},
    {"options": [f"{n}. {value}" for n, value in enumerate(LETTERED.values(), 1)], "answer": "blue"},
    {"options": [f"- {value}" for value in LETTERED.values()], "answer": "blue"},
    {f"option_{key.lower()}": value for key, value in LETTERED.items()} | {"answer": "B"},
    {f"Option{n}": value for n, value in enumerate(LETTERED.values(), 1)} | {"answer": "blue"},
    LETTERED | {"answer": "B"},
    {"choices": [*LETTERED.values()], "answer": "blue"},
    {"options": None, "choices": LETTERED, "answer": "b"},
    {"wrong_answers": ["red", "tan", "gray"], "answer": "blue"},
    {"options": ["red\u200b", "bl\u00adue", "ｔａｎ", "gray\u00a0"], "answer": "blue\ufeff"},
]


def of_each(params: ValidateParams, entries: list[dict[str, Any]], *others: dict[str, Any]) -> Curated:
    """One output for each entry, known by its place, and one of the others."""
    outputs = [numbered(output_of(ASKED | entry), place) for place, entry in enumerate(entries)]
    return curate([*outputs, *([output_of(*others)] if others else [])], params, 1)


def numbered(output: RawOutput, place: int) -> RawOutput:
    return replace(output, image_path=f"{place:03}", product_id=str(place))


def test_options_are_read_where_they_can_be(params: ValidateParams):
    curated = of_each(params, READABLE)
    found = {int(q.image_path): (q.answer, set(q.options)) for q in curated.clean}
    for place, entry in enumerate(READABLE):
        assert found.get(place) == ("blue", FOUR), entry


UNREADABLE: list[dict[str, Any]] = [
    {"options": "red"},
    {"options": "red or blue or so"},
    {"options": "dark, nearly black, blue", "answer": "B"},
    {"options": "A) red C) blue D) tan"},
    {"options": 4},
    {"options": True},
    {"options": {"A": "red", "C": "blue", "D": "tan", "E": "gray"}},
    {"options": {"first": "red", "second": "blue", "third": "tan", "last": "gray"}},
    {"options": {"red": True, "blue": False, "tan": False, "gray": False}},
    {"options": {"A": "red", "a": "blue", "B": "tan", "C": "gray"}},
    {"options": {"A": "red", "2": "blue", "C": "tan", "D": "gray"}},
    {"options": {"A": ["red"], "B": ["blue"], "C": ["tan"], "D": ["gray"]}},
    {"options": {"1": "2", "2": "3", "3": "4", "4": "5"}, "answer": "2"},
    {"options": ["red", "blue", ["tan"], "gray"]},
    {"options": [["red", "blue", "tan", "gray"]]},
    {"options": ["red", {"text": "blue"}, "tan", "gray"]},
    {"options": [{"text": "red"}, {"label": "B", "text": "blue"}]},
    {"options": [{"a": 1, "b": 2}, {"c": 3, "d": 4}]},
    {"options": ["A) red", "A) blue", "B) tan", "D) gray"]},
    {"options": ["2. red", "4. blue", "6. tan", "8. gray"]},
    {"option_a": "red", "option_c": "blue"},
    {"A": "red"},
    {"unusual": ["red", "blue", "tan", "gray"]},
    {"things": {"w": "red", "x": "blue"}},
    {"distractors": "blue, tan, gray"},
    {"distractors": [{"text": "blue"}]},
    {"question": "What color? A) red B) blue C) tan D) gray"},
    {"options": "[" * 5000},
    {"options": "x, " * 9000},
]


def test_options_of_an_unknown_form_are_quarantined_and_nothing_is_invented(params: ValidateParams):
    others = [GOOD | {"answer": value, "options": [value, *"xyz"]} for value in ("red", "pink", "lime", "teal", "blue")]
    curated = of_each(params, [{"answer": "red"} | entry for entry in UNREADABLE], *others)
    refused = {int(question.image_path): (reasons[0], question) for question, reasons in curated.quarantined}
    for place, entry in enumerate(UNREADABLE):
        reason, question = refused[place]
        assert reason == "entry_is_readable" and question.options == () and not question.readable, entry


CUT = [
    '[{"question": "What color?", "answer": "re',
    '[{"question": "What color?", "answer": "red", "options": ["red", "bl',
    '[{"question": "What color?", "options": ["red", "blue", "tan", "gray"], "answer": "re',
    '[{"question": "What color?", "options": ["red", "blue", "tan", "gray"], "answer": 1',
    '```json\n[{"question": "What color?", "answer": "red", "options": ["red", "bl\n```',
]


def test_a_question_within_which_its_output_ends_is_not_completed(params: ValidateParams):
    others = output_of(*(GOOD | {"answer": value, "options": [value, *"xyz"]} for value in ("red", "pink", "lime")))
    outputs = [numbered(raw(text), place) for place, text in enumerate(CUT)]
    curated = curate([*outputs, others], params, 1)
    assert [reasons[0] for _, reasons in curated.quarantined] == ["entry_is_readable"] * len(CUT)


@given(st.dictionaries(st.sampled_from(["options", "answer", "question", "distractors", "A", "B", "x"]), ANY_JSON))
def test_reading_options_never_raises_and_gives_texts(fields: dict[str, Any]):
    found = read_options(fields)
    assert all(isinstance(text, str) for text in (found.answer, *found.texts))
    "".join(found.texts).encode()


def test_images_of_one_name_in_two_folders_have_questions_of_their_own(params: ValidateParams):
    outputs = [output_of(GOOD, COUNT), output_of(COUNT), output_of(GOOD)]
    paths = ("a/0.jpg", "b/0.jpg", "0.jpg")
    outputs = [replace(output, image_path=path, product_id=path) for output, path in zip(outputs, paths, strict=True)]
    curated = curate(outputs, params, 1)
    assert [q.qa_id for q in curated.clean] == ["0.jpg-0", "a/0.jpg-0", "a/0.jpg-1", "b/0.jpg-0"]
    assert questions_of(GOOD)[0].qa_id == "00000000-0", "ids of ABO's images are as short as ever"


@given(st.lists(st.from_regex(r"(?:[0-9a-f]{2}/)?[0-9a-f]{8}(?:\.jpg)?", fullmatch=True), unique=True, max_size=9))
def test_no_two_images_share_the_id_of_a_question(paths: list[str]):
    outputs = [replace(raw(json.dumps([GOOD])), image_path=path) for path in paths]
    assert len({question.qa_id for question in flatten(outputs).questions}) == len(paths)


def of_people(params: ValidateParams) -> Curated:
    rows = [json.loads(line) for line in (shared_cases() / "raw_outputs.jsonl").read_text().splitlines()]
    outputs = [replace(raw(row["output"]), image_path=row["image"], product_id=row["image"]) for row in rows]
    values = ("red", "blue", "green", "black", "pink", "white", "lime", "teal", "gold", "gray")
    others = [GOOD | {"answer": value, "options": [value, *"xyz"]} for value in values]
    others += [other | {"question": "What is it?"} for other in others]
    return curate([*outputs, output_of(*others)], params, 1)


def test_the_outputs_that_people_bring_are_read_or_quarantined(params: ValidateParams):
    curated = of_people(params)
    clean: dict[str, list[tuple[str, set[str]]]] = {}
    for question in curated.clean:
        clean.setdefault(Path(question.image_path).stem, []).append((question.answer, set(question.options)))
    refused: dict[str, str] = {}
    for question, reasons in curated.quarantined:
        refused[Path(question.image_path).stem] = reasons[0]
    blue = [("blue", {"red", "blue", "green", "black"})]
    for name in (
        "options_as_string", "options_dict", "options_dict_words", "options_at_entry_option_a",
        "options_as_single_dicts", "letter_options_prefixed_paren", "letter_options_prefixed_space",
    ):  # fmt: skip
        assert clean[name] == blue and name not in refused, name
    expected = {
        "answer_index0": "answer_is_among_options",
        "letter_E": "answer_is_among_options",
        "nan_answer": "answer_is_one_word",
        "null_answer": "answer_is_one_word",
        "None_python": "answer_is_one_word",
        "image_tag_in_question": "text_has_no_special_tokens",
    }
    for name, reason in expected.items():
        assert refused[name] == reason and name not in clean, name
    assert refused["repeated_answer"] == "answer_is_not_too_long" and len(clean["repeated_answer"]) == 1
    both = [("red", {"red", "blue", "green", "black"}), *blue]
    for name in (
        "think_then_json", "think_with_draft_json", "think_with_braces", "eos_bare_in_text", "prompt_echo",
        "fence_unclosed", "tilde_fence", "bom_at_start", "control_chars", "two_arrays",
    ):  # fmt: skip
        assert clean[name] == both and name not in refused, name
    assert clean["zero_width"] == [both[0]]
    [(answer, options)] = clean["chinese"]
    assert answer in options == {"红色", "蓝色", "绿色", "黑色"}
