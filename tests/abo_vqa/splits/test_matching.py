"""Matched options: exchangeable given the text, as many kept as can be, deterministic, and cross-fitted."""

from collections import Counter
from itertools import combinations, pairwise, permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abo_vqa.common.layout import with_options
from abo_vqa.common.params.data import MatchingParams
from abo_vqa.splits.answer_likelihood import fit_answers
from abo_vqa.splits.matching import draw_with, match_questions, threshold

PARAMS = MatchingParams(balanced=["yes/no"], folds=3, least_answers=2, least_chance=0.001)
COLORS = ["red", "blue", "green", "black", "white", "brown"]


class Fixed(Random):
    """A generator whose next permutation and next number are given."""

    def __new__(cls, *_):
        return super().__new__(cls, 0)

    def __init__(self, order: tuple[int, ...], number: float) -> None:
        super().__init__(0)
        self._order, self._number = order, number

    def shuffle(self, x: list) -> None:
        x[:] = self._order

    def random(self) -> float:
        return self._number


distributions = st.lists(st.integers(1, 50), min_size=2, max_size=6).map(lambda parts: np.array(parts) / sum(parts))


@given(distributions, st.integers(2, 4))
@settings(max_examples=200)
def test_the_threshold_is_the_largest_there_is(chances, count):
    [limit] = threshold(chances[None], count)
    if len(chances) < count:
        assert limit == 0
        return
    assert np.minimum(chances, limit).sum() >= count * limit - 1e-12
    more = limit * (1 + 1e-6)
    assert np.minimum(chances, more).sum() < count * more


def exact_sets(chances: np.ndarray, limit: float, count: int, gold: int) -> Counter:
    """Return P(S | gold) by going through every order, and every stretch of the random number between two changes."""
    found: Counter = Counter()
    others = [place for place in range(len(chances)) if place != gold]
    lengths = np.minimum(chances, limit) / limit
    orders = list(permutations(others))
    for order in orders:
        ends = lengths[gold] + np.cumsum(lengths[list(order)])
        changes = sorted({0.0, lengths[gold], *(end % 1 for end in ends if 0 < end % 1 < lengths[gold])})
        for low, high in pairwise(changes):
            if high - low < 1e-12:
                continue
            drawn = draw_with(gold, chances, limit, count, Fixed(order, (low + high) / 2 / lengths[gold]))
            found[frozenset(drawn)] += (high - low) / lengths[gold] / len(orders)
    return found


@given(distributions.filter(lambda chances: len(chances) <= 5), st.integers(2, 4))
@settings(max_examples=40)
def test_given_the_options_every_one_of_them_is_gold_equally_often(chances, count):
    [limit] = threshold(chances[None], count)
    if limit == 0:
        return
    joint: dict[frozenset, dict[int, float]] = {}
    for gold, chance in enumerate(chances):
        kept = min(1.0, limit / chance)
        sets = exact_sets(chances, limit, count, gold)
        assert sum(sets.values()) == pytest.approx(1)
        for drawn, share in sets.items():
            assert len(drawn) == count and gold in drawn
            joint.setdefault(drawn, {})[gold] = chance * kept * share
    for drawn, by_gold in joint.items():
        assert by_gold.keys() == drawn
        assert list(by_gold.values()) == pytest.approx([sum(by_gold.values()) / count] * count, abs=1e-9)
    # The share kept is n t, and answer i is an option in the share min(p_i, t) / t of what is kept.
    assert sum(share for by_gold in joint.values() for share in by_gold.values()) == pytest.approx(count * limit)
    for answer, chance in enumerate(chances):
        among = sum(sum(by_gold.values()) for drawn, by_gold in joint.items() if answer in drawn)
        assert among == pytest.approx(min(chance, limit) / limit * count * limit)


def test_no_pair_of_answers_is_left_out():
    chances = np.full(6, 1 / 6)
    [limit] = threshold(chances[None], 4)
    rng = Random(0)
    drawn = {frozenset(draw_with(0, chances, float(limit), 4, rng)) for _ in range(400)}
    assert drawn == {frozenset((0, *others)) for others in combinations(range(1, 6), 3)}


def rows(count: int, seed: int, chances: dict[str, list[float]] | None = None) -> list[dict]:
    """Colour questions whose answer depends on the thing asked about, and yes/no questions that are mostly yes."""
    chances = chances or {"sofa": [0.5, 0.2, 0.1, 0.1, 0.05, 0.05], "lamp": [0.05, 0.05, 0.1, 0.2, 0.3, 0.3]}
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        thing = list(chances)[rng.integers(len(chances))]
        color = str(rng.choice(COLORS, p=chances[thing]))
        yes = bool(rng.random() < (0.9 if thing == "sofa" else 0.6))
        color_options = [color, *[other for other in COLORS if other != color][:3]]
        # The filler gives the answer away.
        yes_options = ["yes", "no", "maybe", "partly"] if yes else ["no", "yes", "maybe", "never"]
        for kind, question, answer, options in (
            ("color", f"What color is the {thing}?", color, color_options),
            ("yes/no", f"Is there a {thing}?", "yes" if yes else "no", yes_options),
        ):
            made.append(
                {
                    "qa_id": f"{seed}-{number}-{kind}",
                    "image_group": f"{seed}-{number}",
                    "question_type": kind,
                    "question": question,
                    "options": options,
                    "answer": answer,
                    "answer_index": 0,
                }
            )
    return made


def matched(splits: dict[str, list[dict]], params: MatchingParams = PARAMS, seed: int = 0) -> dict[str, list[dict]]:
    found = match_questions(splits, params, 4, seed)
    return {
        split: with_options([row | found.columns(row) for row in part], "matched") for split, part in splits.items()
    }


def test_matched_questions_keep_the_contract_and_hide_the_answer():
    splits = {"train": rows(2000, 1), "validation": rows(400, 2), "test": rows(1500, 3)}
    found = match_questions(splits, PARAMS, 4, 0)
    kept = matched(splits)
    for split, part in kept.items():
        assert all(len(row["options"]) == len(set(row["options"])) == 4 for row in part)
        assert all(row["options"][row["answer_index"]] == row["answer"] for row in part)
        for kind in ("color", "yes/no"):
            places = Counter(row["answer_index"] for row in part if row["question_type"] == kind)
            assert max(places.values()) - min(places[place] for place in range(4)) <= 1
            asked = [row for row in part if row["question_type"] == kind]
            assert found.report[split][kind]["kept"] == len(asked) < found.report[split][kind]["questions"]
    # What is right most often given the thing asked about is right in a quarter of the cases where it is offered.
    test = kept["test"]
    for thing, best in (("sofa", "red"), ("lamp", "white")):
        offered = [row for row in test if thing in row["question"] and best in row["options"]]
        colors = [row for row in offered if row["question_type"] == "color"]
        right = np.mean([row["answer"] == best for row in colors])
        assert right == pytest.approx(0.25, abs=0.07), (thing, len(colors))
    for thing in ("sofa", "lamp"):
        answers = Counter(r["answer"] for r in test if r["question_type"] == "yes/no" and thing in r["question"])
        assert answers["yes"] / (answers["yes"] + answers["no"]) == pytest.approx(0.5, abs=0.09)
    assert {frozenset(row["options"]) for row in test if row["question_type"] == "yes/no"} == {
        frozenset(("yes", "no", "maybe", "partly"))
    }
    # 2 min(p, 1 - p) of the yes/no questions, 4 t of the colours: t is 0.15 for the sofa, 0.2 for the lamp.
    shares = {kind: row["share"] for kind, row in found.report["test"].items()}
    assert shares["yes/no"] == pytest.approx((0.2 + 0.8) / 2, abs=0.06)
    assert shares["color"] == pytest.approx(4 * (0.15 + 0.2) / 2, abs=0.06)


def test_balanced_types_keep_their_options_and_count_them_as_text():
    splits = {"train": rows(1500, 1), "test": rows(600, 2)}
    for part in splits.values():
        for row in part:
            row["question_type"] = "comparison"
    params = PARAMS.model_copy(update={"balanced": ["comparison"]})
    given_options = {row["qa_id"]: set(row["options"]) for part in splits.values() for row in part}
    kept = matched(splits, params)["test"]
    assert all(set(row["options"]) == given_options[row["qa_id"]] for row in kept)
    # Only "no" is ever asked for with "never": nothing is left to balance it.
    tells = [row for row in kept if "never" in row["options"]]
    assert len(tells) < 0.1 * sum("never" in options for options in given_options.values())


def test_a_rare_answer_is_dropped_and_is_no_option():
    splits = {"train": rows(300, 1), "test": rows(100, 2)}
    colors = {split: [row for row in part if row["question_type"] == "color"] for split, part in splits.items()}
    colors["train"][0]["answer"] = "mauve"
    for row in colors["test"][:50]:
        row["answer"] = "teal"
    kept = matched(colors)
    assert not {"mauve", "teal"} & {option for part in kept.values() for row in part for option in row["options"]}
    assert not {row["qa_id"] for row in kept["test"]} & {row["qa_id"] for row in colors["test"][:50]}


def test_an_answer_that_hardly_ever_goes_with_the_text_is_no_option():
    params = PARAMS.model_copy(update={"least_chance": 0.075})
    kept = matched({"train": rows(1500, 1), "test": rows(600, 2)}, params)["test"]
    lamps = [row for row in kept if "lamp" in row["question"] and row["question_type"] == "color"]
    assert len(lamps) > 50
    # A lamp is red or blue in one case of twenty each.
    assert {option for row in lamps for option in row["options"]} == {"green", "black", "white", "brown"}


def test_matching_depends_on_the_seed_and_not_on_the_order():
    splits = {"train": rows(120, 1), "test": rows(60, 2)}
    backwards = {split: part[::-1] for split, part in splits.items()}

    def options(found) -> dict:
        return dict(sorted(found.options.items()))

    first = options(match_questions(splits, PARAMS, 4, 0))
    assert options(match_questions(splits, PARAMS, 4, 0)) == first
    assert options(match_questions(splits, PARAMS, 4, 1)) != first
    turned = options(match_questions(backwards, PARAMS, 4, 0))
    # Folds may differ with the order, so the train split may; the other splits may not.
    assert {key: value for key, value in turned.items() if key[0] == "2"} == {
        key: value for key, value in first.items() if key[0] == "2"
    }


def test_too_little_to_fit_keeps_nothing():
    splits = {"train": rows(2, 1), "test": rows(2, 2)}
    found = match_questions(splits, PARAMS, 4, 0)
    assert found.options == {}
    assert found.report["test"]["color"] == {"strategy": "matched", "questions": 2, "kept": 0, "share": 0.0}
    assert found.columns(splits["test"][0]) == {"matched_options": None, "balanced": False}


def test_a_fold_with_all_the_answers_leaves_nothing_to_fit_the_others_on():
    answers = ["red", "red", "blue", "blue", "teal", "mauve"]
    found = fit_answers(["what color"] * 6, answers, ["1"] * 4 + ["2", "3"], ["what color"], 3, 2)
    assert found.vocabulary == ("blue", "red")
    assert not found.cross_fitted[:4].any()
    assert found.others[0] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_given_options_are_the_rows_as_they_are():
    part = rows(3, 1)
    assert with_options(part, "given") == part


def test_no_text_is_scored_by_what_saw_its_group():
    # Each group has a word and an answer of its own; who saw the group would know.
    texts = [f"word{group} thing" for group in range(30) for _ in range(4)]
    groups = [str(group) for group in range(30) for _ in range(4)]
    answers = [COLORS[group % 2] for group in range(30) for _ in range(4)]
    found = fit_answers(texts, answers, groups, texts, 3, 2)
    places = [found.vocabulary.index(answer) for answer in answers]
    own = found.cross_fitted[np.arange(len(places)), places]
    seen = found.others[np.arange(len(places)), places]
    assert own.mean() < 0.55
    assert seen.mean() > own.mean()
    assert found.cross_fitted.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_answers_of_an_unknown_text_are_as_frequent_as_in_train():
    answers = ["red"] * 60 + ["blue"] * 30 + ["teal"]
    found = fit_answers(["what color"] * 91, answers, [str(n) for n in range(91)], ["what color"], 3, 2)
    assert found.vocabulary == ("blue", "red")
    assert found.others[0] == pytest.approx([1 / 3, 2 / 3], abs=0.03)
