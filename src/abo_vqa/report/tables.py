"""The comparison as Markdown, and its tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abo_vqa.common.schema import CROSS_FITTED, MATCHED, OPEN, OPTIONS, TEST
from abo_vqa.comparison.words import IMAGES, headlines, in_words
from abo_vqa.statistics.display import markdown_table, percent, span
from abo_vqa.statistics.intervals import POWER

Comparison = Mapping[str, Any]

COLUMNS = (
    "Means over the training runs of an arm; deviation: of the accuracy from run to run, in points. Accuracy: exact "
    "match of the generated answer, with rotated options in every order. Above chance: in points, if options are "
    "shown. Best text-only: the best baseline that reads the same text without the image; for rotated "
    "options, in one order. Ranked: the most likely option is right. Macro-F1 is over the gold answers, token F1 over "
    "shared words; BERTScore F1 is raw, and rescaled by its mean over pairs of different answers. ECE: gap between the "
    "ranking's confidence and its accuracy, ten bins. Unparsable: none of the shown options, or empty if none is "
    "shown; counts as wrong."
)
TESTS = (
    "Points: the first's accuracy minus the second's, same questions, mean over training seeds. Image error: standard "
    "error through the drawn images, whose look-alikes form one group; seed error: through the training seeds; seed "
    "deviation: of the difference from one training seed to the next. The interval and p allow for both, with "
    "Student's t of each source. Fewer than three runs: for images only, so that the row describes these adapters; a "
    "row of two arms then cannot tell which way of training is better, and its Holm p is 1. Holm p: adjusted for all "
    f"rows of the table. Detectable: in points, the smallest true difference detected with {100 * POWER:.0f} % "
    "probability, unadjusted."
)


def render(comparison: Comparison) -> str:
    """Return the comparison as Markdown: the verdict, the main table, positions, types, differences, and the audit."""
    level, words = percent(comparison["confidence"]), in_words(comparison)
    sections = [
        "# Comparison",
        f"{comparison['questions']} test questions on {comparison['images']} images. Intervals: {level}, {INTERVALS}. "
        f"Seed {comparison['seed']}.",
        "## Verdict",
        verdict_list(words),
        words["limits"],
        "Computed from the tables below. " + rule(comparison["confidence"]),
        "## Models and conditions",
        main_table(comparison),
        COLUMNS,
        *_titled("## Training runs", run_table(comparison)),
        *_titled("## By position of the right answer", *position_tables(comparison)),
        "## By question type",
        *(type_table(comparison, condition) for condition in comparison["conditions"]),
        "Accuracy; weighted by n, the rows average to the last one.",
        "## Differences",
        TESTS,
        *_titled("Planned, by the generated answers:", difference_table(comparison["differences"])),
        *_titled("The same, by the most likely option:", difference_table(comparison["ranked_differences"])),
        *_titled("With the image minus with another:", difference_table(comparison["image_gains"])),
        *_titled("Planned, beyond the difference with another image:", difference_table(comparison["gains_beyond"])),
        *_titled("Planned, where an answer that is no option counts by the ranking:", lenient_table(comparison)),
        *_titled("## Right with and without the image", with_and_without_table(comparison)),
        "## Without the image",
        audit_table(comparison["audit"]),
        "Fitted on the train split, scored on the test split; cross-fitted: scored on the train split, each fold after "
        "fitting on the others. Under `options` and `matched` a baseline reads question and options, under `open` the "
        "question.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary(comparison: Comparison) -> str:
    """Return the answers in a sentence each and the accuracies, as a note for MLflow (at most 8,000 characters)."""
    told = "\n".join(f"- **{question}** {sentence}" for question, sentence in headlines(comparison))
    rows = [
        [
            f"`{condition}`",
            *(
                f"{percent(total['accuracy'], 1)} ({span(total)})"
                for total in (comparison["results"][model][condition]["total"] for model in comparison["models"])
            ),
        ]
        for condition in comparison["conditions"]
        if "/" not in condition
    ]
    return f"{told}\n\n{markdown_table(['accuracy under', *comparison['models']], rows)}"


INTERVALS = "over groups of look-alike images and, of three training runs or more, over training seeds"


def rule(confidence: float) -> str:
    """Return the verdict's definition of a gain as text."""
    return (
        "A planned difference is a gain (yes) only if its interval excludes zero, its p value, Holm-adjusted over all "
        f"planned ones, is under {1 - confidence:.2g}, and the first model is above chance, above the best text-only "
        "baseline of the same text (their intervals do not overlap; the baseline scores no more than "
        "compare.max_blind), better than itself with a blank image and with another product's, each asked of nine in "
        "ten of its questions, and further ahead than with these; and if a gain remains without the questions of any "
        "one type, and where an answer that is no option counts by the ranking. No: significantly worse. Two training "
        "runs, or copies, allow no answer, nor does one run of each of two arms. In parentheses: intervals and "
        "adjusted p values; detectable: the smallest true difference, in points, that a test detects with "
        f"{percent(POWER)} probability."
    )


def verdict_list(verdict: Mapping[str, Any]) -> str:
    """Return the verdict in words (comparison.words) as a Markdown list: each question, its answer, and its parts."""
    lines = []
    for row in verdict["questions"]:
        lines.append(f"- **{row['question']}** {_sentence(_capital(row['answer']))}")
        for part in row["parts"]:
            under = f" under `{part['condition']}`" if part["condition"] else ""
            said = f" {_sentence(_capital(part['statement']))}" if part["statement"] else ""
            lines.append(f"  - {_sentence(part['about'] + under + ': ' + part['answer'])}{said}")
    return "\n".join(lines)


def main_table(comparison: Comparison) -> str:
    """Return models × conditions as a Markdown table, readable in a terminal too."""
    rows = []
    for model, condition, group in _cells(comparison):
        total = group["total"]
        baseline = comparison["above_text_only"][model].get(condition)
        shown = bool(group["by_position"])
        rows.append(
            [
                model,
                condition,
                str(total["n"]),
                percent(total["accuracy"], 1),
                span(total),
                deviation(total),
                f"{100 * (total['accuracy'] - total['chance']):+.1f}" if shown else "",
                percent(baseline["accuracy"], 1) if baseline else "",
                percent(total["ranked"], 1),
                *(f"{total[name]:.3f}" for name in ("macro_f1", "token_f1", "bertscore_f1", "bertscore_f1_rescaled")),
                f"{total['ece']:.3f}",
                percent(total["unparsable"], 1),
            ]
        )
    heads = [
        "model",
        "condition",
        "n",
        "accuracy",
        "interval",
        "deviation",
        "above chance",
        "best text-only",
        "ranked",
        "macro-F1",
    ]
    return markdown_table([*heads, "token F1", "BERTScore F1", "rescaled", "ECE", "unparsable"], rows)


def audit_table(audit: Mapping[str, Any]) -> str:
    """Return the text-only baselines' scores as a Markdown table."""
    rows = []
    for condition in (name for name in (OPTIONS, MATCHED, OPEN) if name in audit[TEST]):
        best_first = sorted(audit[TEST][condition].items(), key=lambda item: (-item[1]["total"]["accuracy"], item[0]))
        for name, row in best_first:
            total, fitted = row["total"], audit[CROSS_FITTED][condition][name]["total"]
            shares = percent(total["accuracy"], 1), span(total), percent(fitted["accuracy"], 1)
            rows.append([condition, name, str(total["n"]), *shares])
    return markdown_table(["condition", "baseline", "n", "accuracy", "interval", "cross-fitted"], rows)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _titled(title: str, *texts: str) -> list[str]:
    return [title, *texts] if any(texts) else []


def _cells(comparison: Comparison) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for model in comparison["models"]:
        for condition in comparison["conditions"]:
            yield model, condition, comparison["results"][model][condition]


def position_tables(comparison: Comparison) -> list[str]:
    """Return accuracy and picks by option position as a table, and its legend; nothing if no options are shown."""
    groups = [(model, condition, group["by_position"]) for model, condition, group in _cells(comparison)]
    places = sorted({place for *_, found in groups for place in found}, key=int)
    if not places:
        return []
    rows = []
    for model, condition, found in groups:
        for name, title in (("accuracy", "right"), ("picked", "picked")):
            if found:
                cells = [percent(found[place][name], 1) if place in found else "" for place in places]
                rows.append([model, condition, title, *cells])
    for condition in comparison["conditions"]:
        found = comparison["results"][comparison["models"][0]][condition]["by_position"]
        if found:
            rows.append(["", condition, "questions", *(str(found[p]["n"]) if p in found else "" for p in places)])
    return [
        markdown_table(["model", "condition", "", *(f"position {int(place) + 1}" for place in places)], rows),
        "Right: accuracy on questions with the right answer at that position. Picked: share of all questions answered "
        "with the option at that position; with rotated options, positions are those of the first order.",
    ]


def type_table(comparison: Comparison, condition: str) -> str:
    """Return question types × models under one condition as a Markdown table, the total last."""
    groups = [comparison["results"][model][condition] for model in comparison["models"]]
    first = groups[0]["by_type"]
    rows = [
        [kind, str(first[kind]["n"]), *(percent(group["by_type"][kind]["accuracy"], 1) for group in groups)]
        for kind in sorted(first)
    ]
    last = ["all", str(groups[0]["total"]["n"]), *(percent(group["total"]["accuracy"], 1) for group in groups)]
    return markdown_table([f"`{condition}`", "n", *comparison["models"]], [*rows, last])


def difference_table(differences: Sequence[Mapping[str, Any]]) -> str:
    """Return a family of differences as a Markdown table; empty if there are none."""
    rows = []
    for row in differences:
        other = row["against"] if row["against"] != row["condition"] else ""
        errors = [points(row.get(name)) for name in ("image_error", "seed_error", "seed_deviation")]
        cells = [row["first"], row["second"], row["condition"], other, str(row["n"]), str(row["replicates"])]
        cells += [f"{100 * row['estimate']:+.1f}", span(row, "+"), *errors]
        cells += [f"{row['p']:.2g}", f"{row['holm_p']:.2g}", points(row["detectable"])]
        rows.append([*cells, "unsaid" if row["unsaid"] else row["significant"]])
    heads = ["first", "second", "condition", "against", "n", "runs", "points", "interval", "image error", "seed error"]
    heads += ["seed deviation", "p", "Holm p", "detectable", "significant"]
    return markdown_table(heads, rows) if rows else ""


def lenient_table(comparison: Comparison) -> str:
    """Return the planned differences with unparsable answers counted by the ranking as a Markdown table."""
    return difference_table(comparison["lenient_differences"])


def run_table(comparison: Comparison) -> str:
    """Return the accuracy of every training run under the conditions without their counterparts; empty for one run."""
    if all(len(runs) == 1 for runs in comparison["runs"].values()):
        return ""
    names = [name for name in comparison["conditions"] if "/" not in name]
    rows = [
        [run, *(percent(comparison["by_run"][run][name], 1) for name in names)]
        for model in comparison["models"]
        for run in comparison["runs"][model]
    ]
    return markdown_table(["training run", *names], rows)


def with_and_without_table(comparison: Comparison) -> str:
    """Return the shares of questions right with the image, with the other image, both or neither, by type."""
    rows = []
    for row in comparison["with_and_without"]:
        image = IMAGES.get(row["against"].rpartition("/")[2], row["against"])
        for kind, shares in {"all": row["total"], **row["by_type"]}.items():
            cells = [percent(shares[name], 1) for name in ("both", "only_with", "only_without", "neither")]
            rows.append([row["model"], row["condition"], image, kind, str(shares["n"]), *cells])
    heads = ["model", "condition", "against", "type", "n", "right with both", "only with its image"]
    return markdown_table([*heads, "only with the other", "with neither"], rows) if rows else ""


def deviation(total: Mapping[str, Any]) -> str:
    """Return the deviation between training runs in points; empty for one run."""
    return points(total["deviation"])


def points(share: float | None) -> str:
    """Return a share in points; empty for None."""
    return "" if share is None else f"{100 * share:.1f}"
