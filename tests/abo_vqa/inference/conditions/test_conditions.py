"""What is shown under each condition: the right options in the right order, the answer always among them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from abo_vqa.commands.preset import apply_overrides
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params, check_params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.inference.conditions import BLANK, WORDINGS, Asked, Distractors, ask_under, questions_asked

COLORS = ["red", "blue", "green", "black", "white", "brown", "grey", "pink", "teal"]
SHAPES = ["round", "square", "oval", "flat", "red"]


def row(number: int, kind: str, answer: str, options: list[str], matched: list[str] | None = None) -> dict:
    return {
        "qa_id": f"{kind}-{number}",
        "image_id": f"i{number // 2}",
        "question_type": kind,
        "question": f"Which {kind}?",
        "answer": answer,
        "options": options,
        "answer_index": options.index(answer),
        "matched_options": matched,
    }


ROWS = [row(n, "color", COLORS[n], [COLORS[(n + k) % 9] for k in (3, 0, 1, 2)]) for n in range(9)]
ROWS += [row(n, "shape", SHAPES[n], [SHAPES[(n + k) % 5] for k in range(4)], SHAPES[::-1]) for n in range(5)]
ROWS += [row(n, "yes/no", "yes", ["no", "yes", "maybe", "partly"]) for n in range(3)]
DISTRACTORS = Distractors(ROWS)


def ask(seed: int = 1, rows: list[dict] = ROWS, **condition: object) -> list[Asked]:
    return ask_under(rows, "mine", ConditionParams.model_validate(condition), DISTRACTORS, seed)


def test_open_shows_no_options_but_ranks_them():
    for asked, given_row in zip(ask(options="none"), ROWS, strict=True):
        assert asked.rotations == () and list(asked.options) == given_row["options"]
        assert asked.shown_image == given_row["image_id"]


def test_given_options_stay_as_they_are():
    for asked, given_row in zip(ask(), ROWS, strict=True):
        assert asked.rotations == (tuple(given_row["options"]),)


def test_rotated_options_are_at_every_place_once():
    for asked in ask(order="rotated"):
        assert len(asked.rotations) == 4 and asked.rotations[0] == asked.options
        for place in zip(*asked.rotations, strict=True):
            assert sorted(place) == sorted(asked.options)


def test_matched_asks_only_the_questions_that_are_kept():
    found = ask(options="matched")
    assert [asked.qa_id for asked in found] == [f"shape-{n}" for n in range(5)]
    assert all(list(asked.options) == SHAPES[::-1] for asked in found)


def test_the_image_is_blanked_and_nothing_else_changed():
    for blank, shown in zip(ask(image="blank"), ask(), strict=True):
        assert blank.shown_image == BLANK and (blank.options, blank.rotations, blank.image_id) == (
            shown.options, shown.rotations, shown.image_id
        )  # fmt: skip


@given(st.integers(2, 8), st.sampled_from(["given", "near", "far"]), st.sampled_from(["given", "shuffled"]))
def test_any_number_of_options_holds_the_answer_once(count, options, order):
    for asked, given_row in zip(ask(count=count, options=options, order=order), ROWS, strict=True):
        assert len(asked.options) == len(set(asked.options)) == count
        assert given_row["answer"] in asked.options
        assert asked.rotations == (asked.options,)


def test_fewer_options_keep_the_order_of_the_others():
    for asked, given_row in zip(ask(count=3), ROWS, strict=True):
        assert list(asked.options) == [option for option in given_row["options"] if option in asked.options]


def test_near_options_answer_such_questions_and_far_ones_others():
    for asked, given_row in zip(ask(options="near"), ROWS, strict=True):
        if given_row["question_type"] == "color":
            assert set(asked.options) <= set(COLORS)
        if given_row["question_type"] == "yes/no":
            assert set(asked.options) == set(given_row["options"]), "yes and no have no other neighbours"
    for asked, given_row in zip(ask(options="far"), ROWS, strict=True):
        if given_row["question_type"] == "color":
            assert set(asked.options) - {given_row["answer"]} <= {*SHAPES, "yes"} - {"red"}


def test_the_answer_stands_everywhere_when_options_are_replaced():
    places = Counter(asked.options.index(r["answer"]) for seed in range(40) for asked, r in zip(
        ask(seed, options="near"), ROWS, strict=True) if r["question_type"] == "color")  # fmt: skip
    assert len(places) == 4 and min(places.values()) > 0.18 * places.total()


def test_the_draw_depends_on_seed_and_question_alone():
    assert ask(3, options="far") == ask(3, options="far") != ask(4, options="far")
    assert ask(3, rows=ROWS[::-1], order="shuffled") == ask(3, order="shuffled")[::-1]


def test_too_few_answers_are_refused_by_name():
    alone = [row(0, "color", "red", ["red", "blue"])]
    with pytest.raises(InputError, match=r"evaluate\.conditions\.mine: question color-0 needs 5 options"):
        ask_under(alone, "mine", ConditionParams(count=5), Distractors(alone), 1)


@pytest.mark.parametrize("key", ["image", "options", "order", "question"])
def test_an_unknown_kind_is_refused_by_name(key: str):
    with pytest.raises(InputError, match=rf"evaluate\.conditions\.mine\.{key}: there is no 'telepathy'"):
        ask_under(ROWS, "mine", ConditionParams(**{key: "telepathy"}), DISTRACTORS, 1)


def test_without_the_question_image_and_options_stay():
    for asked, shown in zip(ask(question="none"), ask(), strict=True):
        assert asked == replace(shown, question="")


def test_a_reworded_question_keeps_its_words_and_all_else():
    reworded = ask(question="reworded")
    for asked, shown in zip(reworded, ask(), strict=True):
        assert shown.question in asked.question and len(asked.question) > len(shown.question)
        assert replace(asked, question=shown.question) == shown
    wordings = {asked.question.replace(row["question"], "") for asked, row in zip(reworded, ROWS, strict=True)}
    assert len(wordings) == len(WORDINGS), "each is drawn for some question"
    assert [asked.question for asked in ask(question="reworded", options="none")] == [q.question for q in reworded]


@pytest.mark.parametrize("condition", [{"options": "none"}, {"order": "rotated"}, {"options": "matched"}, {"count": 3},
                                       {"options": "far", "order": "shuffled"}])  # fmt: skip
def test_a_counterpart_differs_in_the_image_alone(condition: dict):
    shown = {asked.qa_id: asked for asked in ask(**condition)}
    others = ask(image="other", **condition)
    assert others
    for asked in others:
        assert asked.shown_image not in (asked.image_id, BLANK)
        assert replace(asked, shown_image=asked.image_id) == shown[asked.qa_id]


def test_a_question_without_another_image_is_left_out():
    found = {asked.qa_id for asked in ask(image="other")}
    # To every question about a shape or a color somebody has another answer; nobody says no.
    assert found == {r["qa_id"] for r in ROWS if r["question_type"] != "yes/no"}
    assert ask(rows=ROWS[:2], image="other") == [], "of one image there is no other"


@pytest.fixture
def params(root: Path) -> Params:
    safe = YAML(typ="safe", pure=True)
    text, _ = apply_overrides((root / "params.yaml").read_text(), safe.load(root / "presets/ablations.yaml"))
    return check_params(safe.load(text))


def test_the_ablations_are_conditions_of_the_same_list(params: Params):
    conditions = params.evaluate.conditions
    assert list(conditions)[:6] == ["open", "options", "circular", "matched", "no_question", "reworded"]
    assert {condition.count for condition in conditions.values()} == {None, 2, 3, 6, 8}
    asked = questions_asked(params, ROWS, ROWS)
    assert list(asked) == list(params.conditions())
    assert all(asked.values())


def test_an_unknown_counterpart_is_refused_by_name(params: Params):
    wrong = params.evaluate.model_copy(update={"counterparts": ["blnak"]})
    with pytest.raises(InputError, match=r"evaluate\.counterparts: there is no 'blnak', did you mean 'blank'"):
        questions_asked(params.model_copy(update={"evaluate": wrong}), ROWS, ROWS)


@pytest.mark.parametrize("options", ["none", "given", "near", "far"])
@pytest.mark.parametrize("order", ["given", "rotated", "shuffled"])
def test_a_question_without_options_is_asked_openly_or_not_at_all(options: str, order: str) -> None:
    bare = ROWS[0] | {"qa_id": "bare", "options": [], "answer_index": None}
    asked = ask_under([bare, *ROWS], "open", ConditionParams(options=options, order=order), DISTRACTORS, 0)
    found = [each for each in asked if each.qa_id == "bare"]
    assert [(each.options, each.rotations) for each in found] == ([((), ())] if options == "none" else [])
    assert len(asked) == len(ROWS) + len(found)
