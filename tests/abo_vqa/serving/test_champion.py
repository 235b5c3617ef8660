"""Who becomes champion: confirmed by the verdict, best on validation, and better than the present one beyond luck."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from abo_vqa.serving.champion import Entry, best_of, choose_champion, parts_on
from registered import answered, comparison, part, reason_text, write_results

BEST, MIDDLING = answered(0.9, 1), answered(0.55, 2)


def entry(name: str, version: str, predictions: pd.DataFrame | None = BEST, **given: Any) -> Entry:
    arm = name.partition("-")[0]
    answers = given.pop("answers", {"open": "yes", "options": "yes"})
    parts = {condition: part(arm, condition, answer) for condition, answer in answers.items()}
    lead = given.pop("lead", dict.fromkeys(answers, 0.1))
    tested_on, validation = given.pop("tested_on", "test"), given.pop("validation", 0.7)
    return Entry(arm, name, version, tested_on, predictions, validation, parts, lead)


def choose(entries: list[Entry], present: Entry | None, *under: str) -> tuple[str | None, str]:
    chosen, why = choose_champion(entries, present, under or ["open"], 0.95, reason_text)
    return chosen.version if chosen else None, why


def equally_good(table: pd.DataFrame) -> pd.DataFrame:
    """As many right answers, to other questions."""
    half = table["condition"] == "open"
    changed = table.copy()
    changed.loc[half, "correct"] = table.loc[half, "correct"].to_numpy()[::-1]
    return changed


def one_more(table: pd.DataFrame) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[(~changed["correct"]).idxmax(), "correct"] = True
    return changed


def test_without_a_champion_the_verdict_decides() -> None:
    assert choose([entry("options-2", "8")], None) == (
        "8",
        "champion is now version 8 (options-2): the verdict says yes under `open`",
    )


@pytest.mark.parametrize(
    ("answer", "why"), [("no", "no"), ("not shown", "not shown"), ("unsaid", "unsaid (because of no_counterpart)")]
)
@pytest.mark.parametrize("present", [None, entry("standard-1", "3", MIDDLING)])
def test_an_arm_that_the_verdict_does_not_favor_is_no_champion(answer: str, why: str, present: Entry | None) -> None:
    better = [entry("options-2", "8", answers={"open": "yes", "options": answer})]
    assert choose(better, present)[0] == "8", "under `open` alone it is favored"
    stays = "champion stays version 3 (standard-1)" if present else "no champion"
    for under in (["open", "options"], ["options"]):
        assert choose(better, present, *under) == (None, f"{stays}: options arm under `options`: {why}")


def test_a_run_that_is_not_shown_to_be_better_than_base_is_no_champion_whatever_its_arm() -> None:
    for lead in ({"open": 0.0}, {"open": -0.26}, {}):
        version, why = choose([entry("options-1", "1", lead=lead)], None)
        assert version is None
        assert "version 1 (options-1) itself is not shown to be better than base under `open`" in why


def test_a_condition_that_is_not_planned_makes_no_champion() -> None:
    chosen, why = choose([entry("options-2", "8", answers={"options": "yes"})], None)
    assert chosen is None and "options arm under `open`: its difference from base is not planned" in why


def test_a_better_one_replaces_the_champion_with_the_figures() -> None:
    chosen, why = choose([entry("options-2", "8", BEST)], entry("standard-1", "3", MIDDLING))
    assert chosen == "8"
    assert why.startswith("champion is now version 8 (options-2): better than version 3 (standard-1), +")
    assert "on the same 300 questions under `open`" in why and "; p " in why


@pytest.mark.parametrize(
    ("predictions", "why"),
    [
        (BEST, "ties with it, +0.0 points"),
        (equally_good(BEST), "ties with it, +0.0 points"),
        (one_more(BEST), "is not shown to be better, +0.3 points"),
        (MIDDLING, "is worse, -"),
    ],
    ids=["the same answers", "as many right answers", "one more right answer", "worse"],
)
def test_the_champion_stays_if_the_candidate_is_not_better(predictions: pd.DataFrame, why: str) -> None:
    chosen, said = choose([entry("options-2", "8", predictions)], entry("options-1", "3", BEST))
    assert chosen is None
    assert said.startswith(f"champion stays version 3 (options-1): version 8 (options-2) {why}"), said


def test_look_alike_images_do_not_make_a_difference_significant() -> None:
    table, better = BEST.copy(), BEST.copy()
    wrong = better.index[(~better["correct"]) & (better["condition"] == "open")][:12]
    better.loc[wrong, "correct"] = True
    assert choose([entry("options-2", "8", better)], entry("options-1", "3", table))[0] == "8"
    for one in (table, better):
        one.loc[wrong, "image_group"] = "one group"
    chosen, why = choose([entry("options-2", "8", better)], entry("options-1", "3", table))
    assert chosen is None and "is not shown to be better, +4.0 points" in why


@pytest.mark.parametrize(
    ("present", "why"),
    [
        (entry("options-1", "3", MIDDLING, tested_on="other"), "it was tested on other test data"),
        (entry("unknown", "3", MIDDLING, tested_on=""), "its test data are unknown"),
        (entry("options-1", "3", None), "its predictions cannot be read from the store"),
        (entry("options-1", "3", answered(0.55, 2, "other")), "its predictions are of other questions"),
        (entry("options-1", "3", MIDDLING[MIDDLING["condition"] == "options"]), "its predictions are of other"),
    ],
    ids=["other test data", "made by hand", "predictions lost", "other questions", "condition not asked"],
)
def test_a_champion_that_cannot_be_tested_stays_however_good_the_candidate(present: Entry, why: str) -> None:
    chosen, said = choose([entry("options-2", "8", BEST)], present)
    assert chosen is None
    assert f"stays version 3 ({present.replicate}): version 8 (options-2) cannot be tested" in said
    assert why in said and said.endswith("delete the alias `champion` in MLflow and promote again")


def test_the_champion_itself_is_no_candidate_against_it() -> None:
    present = entry("options-2", "8")
    assert choose([entry("standard-1", "7", answers={"open": "no"}), present], present) == (
        None,
        "champion stays version 8 (options-2): it is the candidate",
    )


def test_the_candidate_is_chosen_by_validation_and_not_by_the_test() -> None:
    good, validated = entry("options-2", "8", BEST, validation=0.6), entry("standard-1", "7", MIDDLING, validation=0.8)
    chosen, why = choose([good, validated], None)
    assert chosen == "7" and "the best of 2 qualified arms by validation accuracy" in why
    # The other arm would beat the champion, but the test set is not asked which one to take.
    assert choose([good, validated], entry("options-1", "3", MIDDLING))[0] is None


def test_without_validation_the_first_qualified_arm_is_the_candidate() -> None:
    chosen, why = choose([entry("a-1", "7", validation=None), entry("b-1", "8", validation=None)], None)
    assert chosen == "7" and "the first of 2 qualified arms, which were not validated" in why


def test_the_best_on_validation_is_taken_and_of_equal_ones_the_first() -> None:
    assert best_of(["a-1", "a-2", "a-3"], {"a-1": 0.5, "a-2": 0.7, "a-3": 0.7}) == "a-2"
    assert best_of(["a-1", "a-2"], {"a-1": None, "a-2": None}) == "a-1"
    assert best_of(["a-1", "a-2"], {"a-1": None, "a-2": 0.0}) == "a-2"


def test_the_verdict_on_training_is_found_by_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_results({"base": 0.5, "standard": 0.5, "options": 0.8})
    found = parts_on("options", comparison())
    assert {condition: part["answer"] for condition, part in found.items()} == {"open": "yes", "options": "yes"}
    assert parts_on("rival", comparison()) == {}
