"""The verdict says yes where a model is better with the image, and exposes every fraud that it is offered."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.comparison import verdict, words
from abo_vqa.comparison.differences import COPIED
from abo_vqa.comparison.words import (
    ABOVE,
    BEYOND,
    EVERY_ORDER,
    HOLDS,
    LOOKS,
    NOT_SHOWN,
    OPTIONS_SHOWN,
    OTHER,
    QUESTIONS,
    RANKED,
    REASONS,
    TRAINING,
    UNSAID,
    YES,
    answer_text,
    answers_about,
    in_words,
)
from abo_vqa.report.tables import render
from pretended import (
    CONDITIONS,
    PAIRS,
    PLANNED,
    WITHOUT,
    always_first,
    compared,
    everywhere,
    knowing,
    options_help,
    predictions,
    replicated,
    settings,
    three,
    without,
)


def parts(comparison: Mapping[str, Any], code: str) -> list[dict[str, Any]]:
    return next((row["parts"] for row in comparison["verdict"]["questions"] if row["code"] == code), [])


def answer(comparison: Mapping[str, Any], code: str, first: str, second: str, condition: str, image: str = "") -> str:
    """The answer to a question about two models, or one and itself, under a condition or against a counterpart."""
    wanted = (first, second, condition, f"{condition}/{image}" if image else condition)
    found = {tuple(p[n] for n in ("first", "second", "condition", "against")): p for p in parts(comparison, code)}
    return str(found[wanted]["answer"])


def reasons(comparison: Mapping[str, Any], first: str, second: str, condition: str) -> set[str]:
    """The codes of why a planned difference is unsaid."""
    return {reason["code"] for reason in answers_about(comparison, first, second)[condition]["reasons"]}


def gained(comparison: Mapping[str, Any], first: str = "standard", second: str = "base") -> set[str]:
    """The conditions under which a gain is claimed."""
    return {name for name, part in answers_about(comparison, first, second).items() if part["answer"] == YES}


def significant(comparison: Mapping[str, Any], condition: str, table: str = "differences") -> str:
    """What the plain figures say of the standard arm against base."""
    rows = comparison[table]
    return next(r["significant"] for r in rows if (r["first"], r["condition"]) == ("standard", condition))


def only_standard(base: Any, standard: Any, **given: Any) -> dict[str, Any]:
    tables = {"base": predictions(knowing(base, 0)), "standard": predictions(knowing(standard, 0))}
    return compared(tables, settings=settings(PAIRS[:1]), **given)


def test_a_better_arm_is_called_better_and_an_equal_one_is_not():
    found = options_help()
    assert gained(found, "options") == set(PLANNED)
    assert gained(found, "standard") == set()
    assert answer(found, TRAINING, "standard", "base", "open") == NOT_SHOWN
    assert answer(found, HOLDS, "options", "base", "circular") == YES
    # There is nothing that could hold.
    assert reasons(found, "standard", "base", "matched") == {"no gain to hold"}
    for code in (ABOVE, LOOKS, EVERY_ORDER):
        assert {part["answer"] for part in parts(found, code)} == {YES}
    assert answer(found, RANKED, "options", "base", "options") == YES
    assert answer(found, BEYOND, "options", "base", "options", "other") == YES


def test_three_runs_of_two_arms_tell_which_way_of_training_is_better():
    found = compared(replicated(0.02, base=0.5, standard=0.5, options=0.8))
    assert gained(found, "options", "standard") == set(PLANNED)
    row = next(r for r in found["differences"] if (r["first"], r["second"]) == ("options", "standard"))
    assert (row["replicates"], row["over"]) == (3, "images and training seeds")
    assert row["image_error"] > 0 and row["seed_error"] >= 0
    assert found["verdict"]["limits"] == [{"code": "runs", "replicates": 3}]


def test_a_difference_smaller_than_the_luck_of_the_seed_is_not_shown():
    lucky = replicated(0.1, base=0.5, standard=0.5, options=0.6)
    found = compared(lucky, settings=settings(PAIRS[2:]))
    assert gained(found, "options", "standard") == set()
    # The luckiest run of each against one another would be significant by images alone.
    best = max((n for n in lucky if "options" in n), key=lambda n: found["by_run"][n]["open"])
    worst = min((n for n in lucky if "standard" in n), key=lambda n: found["by_run"][n]["open"])
    alone = compared({"base": lucky["base"], "standard": lucky[worst], "options": lucky[best]})
    row = next(r for r in alone["differences"] if (r["first"], r["second"]) == ("options", "standard"))
    assert row["low"] > 0 and row["unsaid"]


@pytest.mark.parametrize("runs", [1, 2])
def test_between_two_arms_of_fewer_than_three_runs_nothing_can_be_said(runs: int) -> None:
    tables = replicated(base=0.5, standard=0.5, options=0.8)
    few = {name: table for name, table in tables.items() if name == "base" or int(name[-1]) <= runs}
    found = compared(few)
    for code in (OPTIONS_SHOWN, HOLDS, RANKED, BEYOND):
        between = [p for p in parts(found, code) if (p["first"], p["second"]) == ("options", "standard")]
        assert {p["answer"] for p in between} == {UNSAID} and between
    # Of one adapter, images alone allow a yes; the mean of two hides one that failed.
    for code in (ABOVE, EVERY_ORDER):
        about = {p["answer"] for p in parts(found, code) if p["first"] == "options"}
        assert about == ({YES} if runs == 1 else {UNSAID})
    assert gained(found, "options") == (set(PLANNED) if runs == 1 else set())
    row = next(r for r in found["differences"] if (r["first"], r["second"]) == ("options", "standard"))
    assert (row["over"], row["significant"], row["holm_p"]) == ("images", "", 1)
    assert row["estimate"] > 0.2 and row["low"] > 0.15 and row["p"] < 1e-10, "the figures of these adapters"
    text = render(found)
    wording = "one training run" if runs == 1 else "2 training runs, fewer than 3"
    assert f"cannot be said, because {wording}: another training seed could reverse the difference" in text
    assert "These adapters: +" in text


def test_a_worse_arm_is_called_worse():
    found = compared(three(base=0.7, standard=0.4, options=0.7))
    assert answer(found, TRAINING, "standard", "base", "options") == "no"
    assert answer(found, HOLDS, "standard", "base", "circular") == "no"


def test_a_family_of_look_alikes_makes_no_significant_difference():
    # The arm is better on 20 of 120 images, which are pictures of one thing.
    tables = {"base": predictions(knowing(0.5, 0)), "standard": predictions(knowing(0.5, 0))}
    family = tables["base"]["image_id"] < "i0020"
    better = family & tables["base"]["condition"].isin(PLANNED)
    tables["standard"].loc[better, ["correct", "ranked"]] = True
    assert "options" in gained(compared(tables, settings=settings(PAIRS[:1])))
    alike = {name: table.assign(image_group=table["image_group"].mask(family, "f")) for name, table in tables.items()}
    grouped = compared(alike, settings=settings(PAIRS[:1]))
    assert gained(grouped) == set() and significant(grouped, "options") == ""


def test_fraud_a_gain_that_a_text_only_baseline_has_too():
    found = compared(three(base=0.5, standard=0.5, options=0.8), best=0.8)
    for condition in PLANNED:
        assert "text only" in reasons(found, "options", "base", condition) or condition in ("circular", "matched")
    assert gained(found, "options") == set()
    assert answer(found, ABOVE, "options", "options", "options") == NOT_SHOWN
    assert answer(found, ABOVE, "base", "base", "circular") == "no"


def test_fraud_a_text_only_baseline_above_its_limit():
    tables = three(base=0.5, standard=0.5, options=0.8)
    found = compared(tables, best=0.35, settings=settings(options=0.3, open=0.4))
    assert reasons(found, "options", "base", "options") == {"text-only limit"}
    assert gained(found, "options") == {"open", "matched"}, "the bound of rotated options is that of options"
    wider = compared(tables, best=0.35, settings=settings(options=0.35))
    assert wider["verdict"] == compared(tables, best=0.35)["verdict"]


def test_fraud_always_the_first_option():
    # As in the paper, whose test set has the right answer in the first place in 60 % of questions.
    tables = {
        "base": predictions(knowing(everywhere(0.4), 0), first=0.6),
        "standard": predictions(always_first, first=0.6),
    }
    found = compared(tables, settings=settings(PAIRS[:1]))
    assert significant(found, "options") == "better", "by the plain figures it is a gain"
    assert gained(found) == set()
    assert {"does not look", "not beyond", "position"} <= reasons(found, "standard", "base", "options")
    assert answer(found, EVERY_ORDER, "standard", "standard", "circular") == "no"
    places = found["results"]["standard"]["options"]["by_position"]
    assert [(places[str(place)]["accuracy"], places[str(place)]["picked"]) for place in range(4)] == [
        (1, 1), (0, 0), (0, 0), (0, 0)
    ]  # fmt: skip
    assert re.search(r"\| standard \| options +\| right +\| +100\.0 % \| +0\.0 %", render(found))


@pytest.mark.parametrize("rule", ["second", "last"])
def test_fraud_another_rule_of_position(rule: str) -> None:
    place = {"second": 1, "last": -1}[rule]

    def by_place(number: int, condition: str, options: Any) -> str:
        return str(options[place]) if not condition.startswith("open") else "red"

    tables = {"base": predictions(knowing(everywhere(0.1), 0)), "standard": predictions(by_place)}
    found = compared(tables, best=0.1, settings=settings(PAIRS[:1]))
    assert significant(found, "options") == "better" and gained(found) == set()


@pytest.mark.parametrize("condition", PLANNED)
def test_fraud_training_taught_the_text_alone(condition: str) -> None:
    # The audit has overlooked what the arm learned; with whatever image, it knows as much.
    found = only_standard(0.5, dict.fromkeys(CONDITIONS, 0.8), best=0.3)
    assert significant(found, condition) == "better"
    assert condition not in gained(found)
    if condition in ("open", "options"):
        assert reasons(found, "standard", "base", condition) == {"does not look", "not beyond"}
    for image in ("blank", "other"):
        assert answer(found, LOOKS, "standard", "standard", condition, image) == NOT_SHOWN
        assert answer(found, LOOKS, "base", "base", condition, image) == YES


@pytest.mark.parametrize("image", ["blank", "other"])
def test_fraud_a_gain_that_is_as_large_with_another_image(image: str) -> None:
    alike = dict.fromkeys((name for name in WITHOUT if name.endswith(image)), 0.5)
    found = only_standard(0.5, dict.fromkeys(PLANNED, 0.8) | alike)
    assert gained(found) == set()
    assert reasons(found, "standard", "base", "options") == {"not beyond"}
    assert answer(found, LOOKS, "standard", "standard", "options", image) == YES, "it looks; its gain is not from there"
    assert answer(found, BEYOND, "standard", "base", "options", image) == NOT_SHOWN
    row = next(r for r in found["gains_beyond"] if (r["condition"], r["against"]) == ("options", f"options/{image}"))
    totals = {name: found["results"][name] for name in ("standard", "base")}
    leads = [
        totals["standard"][condition]["total"]["accuracy"] - totals["base"][condition]["total"]["accuracy"]
        for condition in ("options", f"options/{image}")
    ]
    assert row["estimate"] == pytest.approx(leads[0] - leads[1], abs=1e-5)


@pytest.mark.parametrize("condition", PLANNED)
@pytest.mark.parametrize("images", [["blank"], ["other"], ["blank", "other"]])
def test_fraud_a_counterpart_that_was_not_asked(condition: str, images: list[str]) -> None:
    # Its own counterparts are missing; those of the other conditions do not stand in.
    lacking = {f"{condition}/{image}" for image in images}
    tables = {
        name: table[~table["condition"].isin(lacking)]
        for name, table in three(base=0.5, standard=0.5, options=0.8).items()
    }
    found = compared(tables)
    assert condition not in gained(found, "options")
    codes = {r["code"] for r in answers_about(found, "options", "base")[condition]["reasons"]}
    assert codes & {"no counterpart", "no gain to hold"}
    assert gained(found, "options") == set(PLANNED) - {condition}


def test_fraud_a_counterpart_that_was_asked_of_few_questions():
    # From question 75 on the arm knows the text alone, and another product's image was not tried there.
    honest, learned = knowing(0.85, 1), knowing(dict.fromkeys(CONDITIONS, 0.8), 2)
    arm = predictions(lambda n, *asked: honest(n, *asked) if n < 75 else learned(n, *asked))
    tables = {"base": predictions(knowing(0.5, 0)), "standard": arm}
    few = {n: t[~(t["condition"].str.endswith("other") & (t["qa_id"] >= "q0075"))] for n, t in tables.items()}
    found = compared(few, settings=settings(PAIRS[:1]))
    assert significant(found, "options") == "better" and gained(found) == set()
    assert "few counterparts" in reasons(found, "standard", "base", "options")
    assert answer(found, LOOKS, "base", "base", "options", "other") == UNSAID
    assert answer(found, LOOKS, "base", "base", "options", "blank") == YES


@pytest.mark.parametrize("shown", [{"count": 3}, {"order": "shuffled", "count": 2}, {"options": "near"}])
def test_fraud_a_condition_that_no_text_only_baseline_was_asked(shown: dict[str, Any]) -> None:
    conditions, names = dict(CONDITIONS), {}
    for name in ("options", "options/blank", "options/other"):
        names[name] = name.replace("options", "mine")
        conditions[names[name]] = conditions[name].model_copy(update=shown)
    tables = {
        name: pd.concat([table, table[table["condition"].isin(names)].replace({"condition": names})])
        for name, table in three(base=0.5, standard=0.8, options=0.5).items()
    }
    found = compared(tables, shown=conditions, settings=settings(PAIRS[:1], ["mine"]))
    assert reasons(found, "standard", "base", "mine") == {"not audited"}


def test_fraud_another_wording_of_a_text_that_says_too_much():
    conditions = CONDITIONS | {
        f"said{image}": CONDITIONS[f"options{image}"].model_copy(update={"question": "reworded"})
        for image in ("", "/blank", "/other")
    }
    names = {f"options{image}": f"said{image}" for image in ("", "/blank", "/other")}
    tables = {
        name: pd.concat([table, table[table["condition"].isin(names)].replace({"condition": names})])
        for name, table in three(base=0.5, standard=0.8, options=0.5).items()
    }
    found = compared(tables, best=0.9, shown=conditions, settings=settings(PAIRS[:1], ["said"], options=0.5))
    assert "text-only limit" in reasons(found, "standard", "base", "said")


def test_fraud_one_training_run_given_three_times():
    tables = three(base=0.5, standard=0.5, options=0.68)
    copies = {f"{name}-{seed}": tables[name] for name in ("standard", "options") for seed in (1, 2, 3)}
    found = compared({"base": tables["base"], **copies})
    for first, second in PAIRS:
        assert gained(found, first, second) == set()
        assert {r["text"] for r in answers_about(found, first, second)["open"]["reasons"]} == {COPIED}


def test_fraud_a_gain_that_is_only_fewer_unparsable_answers():
    tables = three(base=0.8, standard=0.8, options=0.8)
    # Base knows as much, but says a third of it in a form that counts as wrong; its ranking is as good.
    said = tables["base"]["condition"].isin(PLANNED) & (tables["base"]["qa_id"].str[-1].isin(list("123")))
    tables["base"].loc[said, "correct"] = False
    tables["base"].loc[said, "picked"] = -1
    tables["base"].loc[said, "unparsable"] = True
    for name in ("standard", "options"):
        for column in ("correct", "ranked", "picked"):
            tables[name][column] = three(base=0.8, standard=0.8, options=0.8)["base"][column]
    found = compared(tables, settings=settings(PAIRS[:1]))
    assert significant(found, "open") == significant(found, "options") == "better"
    assert gained(found) == set() and "form" in reasons(found, "standard", "base", "open")
    assert significant(found, "open", "ranked_differences") == ""


def test_fraud_a_gain_on_one_question_type_alone():
    tables = {"base": predictions(knowing(0.5, 0)), "standard": predictions(knowing(0.5, 0))}
    for table in tables.values():
        table["question_type"] = table["question_type"].replace("shape", "yes/no")
    better = (tables["standard"]["question_type"] == "yes/no") & tables["standard"]["condition"].isin(PLANNED)
    tables["standard"].loc[better, ["correct", "ranked"]] = True
    found = compared(tables, settings=settings(PAIRS[:1]))
    assert significant(found, "options") == "better" and gained(found) == set()
    [reason] = answers_about(found, "standard", "base")["options"]["reasons"]
    assert (reason["code"], reason["type"]) == ("one type", "yes/no")
    assert "without the yes/no questions" in answer_text(answers_about(found, "standard", "base")["options"])


def test_fraud_a_gain_that_is_gone_in_other_orders():
    chance = dict.fromkeys(PLANNED, 0.8) | {"circular": 0.5} | without(0.2)
    found = compared(three(base=0.5, standard=0.5, options=chance))
    assert gained(found, "options") == {"open", "options", "matched"}
    assert answer(found, HOLDS, "options", "base", "circular") == NOT_SHOWN


def test_a_model_identical_to_base_and_a_tie_gain_nothing():
    same = predictions(knowing(0.6, 0))
    found = compared({"base": same, "standard": same.copy()}, settings=settings(PAIRS[:1]))
    rows = found["differences"]
    assert {(r["estimate"], r["significant"], r["p"]) for r in rows} == {(0.0, "", 1.0)}
    assert all(row["low"] < 0 < row["high"] and row["detectable"] > 0 for row in rows)
    assert gained(found) == set()


def test_a_perfect_model_is_seen():
    found = only_standard(0.5, dict.fromkeys(PLANNED, 1.0))
    assert gained(found) == set(PLANNED)
    assert found["results"]["standard"]["options"]["total"]["low"] < 1


@pytest.mark.parametrize("count", [1, 5, 10])
def test_two_images_show_nothing(count: int) -> None:
    tables = {
        "base": predictions(knowing(everywhere(0.0), 0), count=count),
        "standard": predictions(knowing(dict.fromkeys(PLANNED, 1.0) | without(0.0), 0), count=count),
    }
    if count == 1:
        tables = {name: table[~table["condition"].str.startswith("matched")] for name, table in tables.items()}
    found = compared(tables, best=0.1, settings=settings(PAIRS[:1], [c for c in PLANNED if c != "matched"]))
    assert gained(found) == set()
    assert all(row["significant"] == "" and row["detectable"] > 0 for row in found["differences"])


def test_no_gain_is_one_without_the_image_or_the_question_or_no_better_than_chance():
    hidden = {"blank": ConditionParams(image="blank"), "unasked": ConditionParams(question="none")}
    tables = {}
    for name, level in (("base", 0.1), ("standard", 0.25)):
        table = predictions(knowing(dict.fromkeys(PLANNED, level) | without(level / 2), int(level > 0.2)))
        copies = [table[table["condition"] == "options"].assign(condition=condition) for condition in hidden]
        tables[name] = pd.concat([table, *copies], ignore_index=True)
    planned = settings(PAIRS[:1], ["options", *hidden])
    found = compared(tables, best=0.1, shown=CONDITIONS | hidden, settings=planned)
    assert {row["significant"] for row in found["differences"]} == {"better"}
    assert reasons(found, "standard", "base", "blank") == {"image hidden"}
    assert reasons(found, "standard", "base", "unasked") == {"question hidden"}
    assert "chance" in reasons(found, "standard", "base", "options")


def test_what_was_not_asked_is_said():
    tables = three(base=0.5, standard=0.5, options=0.8)
    lacking = {name: table[table["condition"].isin(["open", "options"])] for name, table in tables.items()}
    found = compared(lacking)
    assert found["conditions"] == ["open", "options"]
    assert reasons(found, "options", "base", "matched") == {"not asked"}
    assert [part["answer"] for part in parts(found, LOOKS)] == [UNSAID]
    assert [part["answer"] for part in parts(found, EVERY_ORDER)] == [UNSAID]
    text = render(found)
    assert "no condition is asked without its image (evaluate.counterparts)" in text
    assert "no condition shows the options in every order" in text


def test_the_question_fits_the_pair():
    found = compared(three(base=0.5, standard=0.8, options=0.5), settings=settings([("standard", "options")], ["open"]))
    codes = [row["code"] for row in found["verdict"]["questions"]]
    assert OTHER in codes and TRAINING not in codes and OPTIONS_SHOWN not in codes


def test_every_code_has_words():
    assert set(QUESTIONS) == {
        value for name, value in vars(words).items() if name in {
            "TRAINING", "OPTIONS_SHOWN", "OTHER", "HOLDS", "BEYOND", "RANKED", "ABOVE", "LOOKS", "EVERY_ORDER",
        }
    }  # fmt: skip
    source = open(verdict.__file__, encoding="utf-8").read()
    assert set(re.findall(r'"code": "([^"]+)"', source)) - {"few runs"} <= set(REASONS) | {"runs"}
    shown = in_words(options_help())
    statement = shown["questions"][0]["parts"][-1]["statement"]
    assert re.match(r"[+]\d+\.\d points \([+]\d+\.\d to [+]\d+\.\d; adjusted p \S+\); detectable: \d+\.\d$", statement)
