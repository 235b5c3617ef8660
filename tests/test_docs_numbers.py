"""The figures in the README and docs/ are those of the committed reports, and agree with each other."""

import csv
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paths import ROOT

README = ROOT / "README.md"
CONDITIONS = ("open", "options", "circular", "matched")


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, float]]:
    """The committed accuracies of the demo."""
    return json.loads((ROOT / "reports/metrics.json").read_text())


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    """The comparison of the demo, where it has been made."""
    path = ROOT / "reports/comparison.json"
    if not path.is_file():
        pytest.skip("no reports/comparison.json: make repro")
    return json.loads(path.read_text())


def rows(page: Path) -> Iterator[list[str]]:
    """Yield the cells of a page's tables."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            yield [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]


def number(text: str) -> float:
    """Return the first number in a text."""
    found = re.search(r"[-+−]?\d[\d,]*\.?\d*", text)
    assert found, text
    return float(found[0].replace(",", "").replace("−", "-"))


def numbers(text: str) -> list[float]:
    return [number(found) for found in re.findall(r"[-+−]?\d[\d,]*\.?\d*", text)]


def test_the_readmes_accuracies_are_the_committed_ones(metrics: dict[str, dict[str, float]]) -> None:
    table = {row[0].split(" ")[0]: row[1:] for row in rows(README) if len(row) == 5 and row[1].endswith("%")}
    for model in ("base", "standard", "options"):
        shown = [number(cell) for cell in table[model]]
        expected = [100 * metrics[model][f"{condition}/accuracy"] for condition in CONDITIONS]
        assert shown == pytest.approx(expected, abs=0.0501), model


def finding() -> list[tuple[float, float, float]]:
    """Return the two differences of the README's finding with their intervals, worse as negative."""
    text = README.read_text(encoding="utf-8")
    found = re.search(
        r"is ([\d.]+)\s+points \*worse\* on open questions\s+\(95 % interval ([−+\d.]+) to ([−+\d.]+)\) and ([\d.]+)\s+"
        r"points better on questions with options \(([−+\d.]+) to ([−+\d.]+)\)",
        text,
    )
    assert found, "the README's finding is worded in another way"
    first, low, high, second, low2, high2 = map(number, found.groups())
    return [(-first, low, high), (second, low2, high2)]


def test_the_readmes_finding_follows_from_the_accuracies(metrics: dict[str, dict[str, float]]) -> None:
    for condition, (points, low, high) in zip(("open", "options"), finding(), strict=True):
        name = f"{condition}/accuracy"
        assert points == pytest.approx(100 * (metrics["options"][name] - metrics["standard"][name]), abs=0.0501)
        assert low < points < high


def test_the_readmes_intervals_are_the_comparisons(comparison: dict[str, Any]) -> None:
    rows = {(row["first"], row["second"], row["condition"]): row for row in comparison["differences"]}
    for condition, shown in zip(("open", "options"), finding(), strict=True):
        row = rows["options", "standard", condition]
        assert shown == pytest.approx([100 * row[name] for name in ("estimate", "low", "high")], abs=0.0501)


def test_the_readmes_seed_and_training_seeds_are_the_parameters() -> None:
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    assert re.search(r"^(seed: \d+)", params, re.MULTILINE)[1] in text  # type: ignore[index]
    assert "replicates: [1, 2, 3, 4]" in params and "four training seeds" in text


def test_means_and_deviations_over_seeds_follow_from_the_single_ones() -> None:
    checked = 0
    for row in rows(ROOT / "docs/seeds.md"):
        if len(row) == 5 and len(single := numbers(row[4])) == 8:
            mean, deviation = numbers(row[3].replace("±", " "))
            assert mean == pytest.approx(statistics.mean(single), abs=0.06), row
            assert deviation == pytest.approx(statistics.stdev(single), abs=0.06), row
            checked += 1
    assert checked == 3


def test_ratios_of_speed_follow_from_the_speeds() -> None:
    for row in rows(ROOT / "docs/training.md"):
        if len(row) == 6 and row[0].isdigit():
            stock, ours, ratio = (number(cell) for cell in row[2:5])
            assert ratio == pytest.approx(ours / stock, rel=0.03, abs=0.06), row
    speeds = [number(row[2]) for row in rows(ROOT / "docs/training.md") if len(row) == 7 and row[1][0].isdigit()]
    ratios = [number(row[3]) for row in rows(ROOT / "docs/training.md") if len(row) == 7 and row[1][0].isdigit()]
    assert ratios == pytest.approx([speed / speeds[0] for speed in speeds], rel=0.02)


def test_the_cache_of_image_features_takes_what_is_said() -> None:
    image = 576 * 2048 * 2  # image tokens, hidden size of LLaVA-Gemma-2B, bytes of half precision
    text = re.sub(r"\s+", " ", (ROOT / "docs/training.md").read_text(encoding="utf-8"))
    assert (
        f"{image / 1e6:.1f} MB for LLaVA-Gemma-2B in half precision: {12_000 * image / 1e9:.0f} GB for 12,000" in text
    )


def test_the_account_of_the_real_questions_is_closed() -> None:
    counts = {row[0]: numbers(row[1]) for row in rows(ROOT / "docs/real-images.md") if len(row) == 2}
    clean = counts["clean after repair"][0]
    quarantined = sum(value[0] for name, value in counts.items() if name.startswith("quarantined"))
    assert counts["questions on these images"][0] == clean + quarantined
    assert sum(counts["train, validation, test questions"]) == clean


def test_curves_are_as_long_as_the_trainings_were() -> None:
    for path in (ROOT / "reports/curves").glob("*.csv"):
        steps = [int(row["step"]) for row in csv.DictReader(path.open(encoding="utf-8"))]
        assert steps == sorted(steps) and steps[-1] == 100, "900 questions, 2 epochs, 18 a step"
