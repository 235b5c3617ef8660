"""Asking everything: each image once, and an interrupted call goes on where it stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from abo_vqa.common.journal import open_journal
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.params.model import PAPER_PROMPT, PromptParams
from abo_vqa.inference.ask import BLANK, ask_all
from abo_vqa.inference.conditions import Asked, Distractors, ask_under
from abo_vqa.inference.prompt_tree.scorer import Answer, Prompt

CONDITIONS = {
    "open": ConditionParams(options="none"),
    "options": ConditionParams(),
    "circular": ConditionParams(order="rotated"),
    "blind": ConditionParams(image="blank"),
    "unasked": ConditionParams(question="none"),
}
PRIOR = "prior"


class Pretended:
    """A model whose answers are made of what it is asked; it stops before the given number of calls is exceeded.

    group: the images that it is asked about together.
    """

    def __init__(self, calls: int | None = None, group: int = 1) -> None:
        self.calls, self.group = calls, group
        self.asked: list[tuple[str, tuple[Prompt, ...]]] = []

    def together(self, prompts: Mapping[str, Any]) -> list[list[str]]:
        images = list(prompts)
        return [images[start : start + self.group] for start in range(0, len(images), self.group)]

    def ask_together(self, prompts: Mapping[str, Sequence[Prompt]]) -> dict[str, list[Answer]]:
        return {image: self.ask(image, of) for image, of in prompts.items()}

    def ask(self, image: str, prompts: Sequence[Prompt]) -> list[Answer]:
        if len(self.asked) == self.calls:
            raise KeyboardInterrupt
        self.asked.append((image, tuple(prompts)))
        return [
            Answer(
                text=f"{image}: {prompt.text}",
                tokens=tuple(prompt.text.encode()),
                log_probabilities=tuple(-len(image + prompt.text + option) / 7 for option in prompt.options),
                lengths=tuple(map(len, prompt.options)),
            )
            for prompt in prompts
        ]


@pytest.fixture
def questions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"question_type": "color", "matched_options": None} for row in rows]


@pytest.fixture
def asked(questions: list[dict[str, Any]]) -> dict[str, list[Asked]]:
    return {name: ask_under(questions, name, shown, Distractors(questions), 0) for name, shown in CONDITIONS.items()}


def ask(model: Pretended, questions: list[dict[str, Any]], asked: dict[str, list[Asked]], *journal: Any) -> Any:
    return ask_all(model, PAPER_PROMPT, questions, asked, "base", *journal)  # type: ignore[arg-type]


def test_each_image_is_asked_once_and_no_prompt_twice(questions, asked):
    model = Pretended()
    table = ask(model, questions, asked)
    assert [image for image, _ in model.asked[:-1]] == [*dict.fromkeys(row["image_id"] for row in questions), BLANK]
    assert all(len(set(prompts)) == len(prompts) for _, prompts in model.asked)
    # Two questions, each openly and in four orders, one of which is the condition options; their options alone, once.
    assert [len(prompts) for _, prompts in model.asked[:-2]] == [2 * 5 + 1] * 8
    assert model.asked[-1] == (BLANK, (Prompt("Answer with just one word.", ("3", "blue", "red", "wood")),))
    assert len(table) == len(CONDITIONS) * len(questions)


def test_a_row_holds_the_answers_to_its_own_prompts(questions, asked):
    table = ask(Pretended(), questions, asked)
    by_id = {row["qa_id"]: row for row in questions}
    for row in table.to_dict("records"):
        given = by_id[row["qa_id"]]
        orders: list[list[str] | None] = [list(row["options"])]
        if row["condition"] == "circular":
            orders = [row["options"][start:] + row["options"][:start] for start in range(4)]
        if row["condition"] == "open":
            orders = [None]
        image = BLANK if row["condition"] == "blind" else row["image_id"]
        texts = [PAPER_PROMPT.text(given["question"], order) for order in orders]
        if row["condition"] == "unasked":
            texts = ["Options: red, blue, wood, 3\nAnswer with just one option."]
        assert row["generated"] == [f"{image}: {text}" for text in texts]
        assert row["shown_image"] == image
        assert row["options"] == given["options"] and row["answer"] == given["answer"]
        assert row["shown"] == (row["condition"] != "open")
        assert row["lengths"] == [list(map(len, row["options"]))] * len(orders)
        assert row["prior"] == [-len(f"{BLANK}Answer with just one word.{option}") / 7 for option in row["options"]]


def test_the_prompt_is_the_given_one(questions, asked):
    model = Pretended()
    own = PromptParams(open="Q: {question}", options="{options} - {question}")
    ask_all(model, own, questions, asked, "base")  # type: ignore[arg-type]
    texts = {prompt.text for _, prompts in model.asked[:-1] for prompt in prompts}
    assert "Q: What color is it?" in texts and "red, blue, wood, 3 - What color is it?" in texts
    assert model.asked[-1][1][0].text == "Q:"


@pytest.mark.parametrize("calls", [0, 1, 5, 8, 9])
def test_an_interrupted_call_resumes_and_asks_nothing_twice(questions, asked, tmp_path: Path, calls: int):
    """After no image, some, all but the blank one, and all but the priors."""
    whole = Pretended()
    expected = ask(whole, questions, asked)
    first, second = Pretended(calls), Pretended()
    with open_journal(tmp_path / "journal.db") as journal, pytest.raises(KeyboardInterrupt):
        ask(first, questions, asked, {}, journal.append)
    with open_journal(tmp_path / "journal.db") as journal:
        known = dict(zip(journal.keys(), journal.read(), strict=True))
        assert len(known) == calls
        table = ask(second, questions, asked, known, journal.append)
        assert journal.keys() == [*(image for image, _ in whole.asked[:-1]), PRIOR]
    assert first.asked + second.asked == whole.asked
    pd.testing.assert_frame_equal(table, expected)


def test_a_finished_journal_answers_everything(questions, asked, tmp_path: Path):
    expected = ask(Pretended(), questions, asked)
    with open_journal(tmp_path / "journal.db") as journal:
        ask(Pretended(), questions, asked, {}, journal.append)
        known = dict(zip(journal.keys(), journal.read(), strict=True))
    none = Pretended(calls=0)
    pd.testing.assert_frame_equal(ask(none, questions, asked, known), expected)
    assert none.asked == []


def test_a_group_that_was_interrupted_is_asked_again_as_a_whole(questions, asked):
    expected, kept = ask(Pretended(), questions, asked), dict[str, Any]()

    def keep(key: str, entry: Any) -> None:
        if len(kept) == 4:  # in the middle of the second group of three
            raise KeyboardInterrupt
        kept[key] = entry

    with pytest.raises(KeyboardInterrupt):
        ask(Pretended(group=3), questions, asked, {}, keep)
    known, again, added = dict(kept), Pretended(group=3), list[str]()
    table = ask(again, questions, asked, known, lambda key, entry: added.append(key))
    images = [*dict.fromkeys(row["image_id"] for row in questions), BLANK]
    assert [image for image, _ in again.asked[:-1]] == images[3:], "the first group is known"
    assert added == [*images[4:], PRIOR]
    pd.testing.assert_frame_equal(table, expected)
