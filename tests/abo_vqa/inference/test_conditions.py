"""What is shown under each condition: the right options in the right order, the answer always among them."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from abo_vqa.commands.preset import apply_overrides
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import check_params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.inference.conditions import BLANK, Asked, Distractors, ask_under

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


@pytest.mark.parametrize("key", ["image", "options", "order"])
def test_an_unknown_kind_is_refused_by_name(key: str):
    with pytest.raises(InputError, match=rf"evaluate\.conditions\.mine\.{key}: there is no 'telepathy'"):
        ask_under(ROWS, "mine", ConditionParams(**{key: "telepathy"}), DISTRACTORS, 1)


def test_the_ablations_are_conditions_of_the_same_list(root: Path):
    safe = YAML(typ="safe", pure=True)
    text, _ = apply_overrides((root / "params.yaml").read_text(), safe.load(root / "presets/ablations.yaml"))
    conditions = check_params(safe.load(text)).evaluate.conditions
    assert list(conditions)[:5] == ["open", "options", "circular", "matched", "blind"]
    assert {condition.count for condition in conditions.values()} == {None, 2, 3, 6, 8}
    for name, condition in conditions.items():
        assert ask_under(ROWS, name, condition, DISTRACTORS, 1)
