"""`abo-vqa compare`: verdicts on anybody's predictions, the same in every order of the rows, and no model loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from abo_vqa.commands.app import app
from abo_vqa.commands.compare import named_files
from abo_vqa.common.errors import InputError

COLORS = ["red", "blue", "green", "black"]


def predictions(accuracy: float, seed: int, images: int = 40, questions: int = 5) -> pd.DataFrame:
    """Return a table in the columns of the course's harness; gold answers are the same for every seed."""
    gold, draw = np.random.default_rng(99), np.random.default_rng(seed)
    rows = []
    for image in range(images):
        for question in range(questions):
            right = str(gold.choice(COLORS))
            said = right if draw.random() < accuracy else next(color for color in COLORS if color != right)
            rows.append((f"{image}.jpg", f"What color is part {question}?", right, said))
    return pd.DataFrame(rows, columns=["image_name", "question", "answer", "generated_answer"])


def save(path: Path, table: pd.DataFrame) -> str:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False)
    return str(path)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], prog_name="abo-vqa")


def compared(folder: Path, **models: pd.DataFrame | list[pd.DataFrame]) -> dict:
    """Return what --json writes of the tables; several tables are a model's runs."""
    given = []
    for name, tables in models.items():
        for run, table in enumerate([tables] if isinstance(tables, pd.DataFrame) else tables):
            given.append(f"{name}={save(folder / f'{name}-{run}.csv', table)}")
    done = invoke(*given, "--json", str(folder / "out.json"))
    assert done.exit_code == 0, done.stderr
    return {**json.loads((folder / "out.json").read_text()), "printed": done.stdout}


def answers(found: dict, match: str = "exact") -> dict[tuple[str, str], str]:
    return {(row["first"], row["second"]): row["answer"] for row in found["differences"] if row["match"] == match}


# Verdicts.


def test_every_pair_is_judged_in_one_family(tmp_path: Path) -> None:
    found = compared(tmp_path, a=predictions(0.5, 1), b=predictions(0.8, 2), c=predictions(0.51, 3))
    assert answers(found) == {("b", "a"): "better", ("c", "a"): "not shown", ("c", "b"): "worse"}
    rows = [row for row in found["differences"] if row["match"] == "exact"]
    smallest = min(rows, key=lambda row: row["p"])
    assert smallest["holm_p"] == pytest.approx(3 * smallest["p"], rel=1e-4), "Holm over three pairs"
    assert "- b is better than a: +" in found["printed"]
    assert "- c is worse than b: -" in found["printed"]
    assert "- A difference between c and a is not shown: " in found["printed"]
    assert (found["questions"], found["images"]) == (200, 40)


def test_several_files_are_training_runs(tmp_path: Path) -> None:
    runs = [predictions(0.75, seed) for seed in (11, 12, 13)]
    found = compared(tmp_path, base=predictions(0.4, 1), tuned=runs)
    [row] = [row for row in found["differences"] if row["match"] == "exact"]
    assert (row["answer"], row["replicates"], row["runs"]) == ("better", 3, [3, 1])
    assert min(row["image_error"], row["seed_error"], row["seed_deviation"]) >= 0
    assert "seed error" in found["printed"] and "tuned (3 runs) is better than base" in found["printed"]
    shares = [float((run["answer"] == run["generated_answer"]).mean()) for run in runs]
    assert found["models"][1]["exact"]["deviation"] == pytest.approx(np.std(shares, ddof=1), rel=1e-4)


def test_runs_that_disagree_show_nothing(tmp_path: Path) -> None:
    """Each run alone differs from base significantly, in both directions."""
    runs = [predictions(accuracy, seed) for seed, accuracy in enumerate((0.75, 0.7, 0.15), 11)]
    assert answers(compared(tmp_path, base=predictions(0.45, 1), tuned=runs)) == {("tuned", "base"): "not shown"}
    alone = compared(tmp_path, base=predictions(0.45, 1), x=runs[0], y=runs[2])
    assert (answers(alone)["x", "base"], answers(alone)["y", "base"]) == ("better", "worse")


def test_the_order_of_a_models_files_does_not_matter(tmp_path: Path) -> None:
    """Nothing says which runs of two models share a seed."""
    a, b = ([predictions(0.7, seed) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    found = compared(tmp_path, a=a, b=b)
    for place in (1, 2):
        turned = compared(tmp_path, a=a, b=b[place:] + b[:place])
        assert (turned["differences"], turned["models"]) == (found["differences"], found["models"])
    assert "Runs of two models are taken as independent" in found["printed"]


def test_what_cannot_be_said(tmp_path: Path) -> None:
    good, bad, run = predictions(1, 1), predictions(0, 2), predictions(0.9, 3)
    two = compared(tmp_path, bad=bad, good=[good, run])
    assert answers(two)["good", "bad"].startswith("cannot be said, because 2 training runs, fewer than 3: another ")
    copies = compared(tmp_path, bad=bad, good=[good, run, run])
    assert answers(copies)["good", "bad"].startswith("cannot be said, because two runs of one model gave the same ")
    listed = run["generated_answer"] + "."
    assert answers(compared(tmp_path, bad=bad, good=[good, run, run.assign(generated_answer=listed)])) == {
        ("good", "bad"): "better"
    }, "answers in other words are no copies"
    assert answers(compared(tmp_path, bad=bad, good=[good, good, run])) == {("good", "bad"): "better"}, "all right"
    one = compared(tmp_path, bad=bad[:5], good=good[:5])
    assert answers(one) == {("good", "bad"): "cannot be said, because one image"}
    assert "Whether good is better than bad cannot be said, because one image: +100.0 points here." in one["printed"]
    for found in (two, copies, one):
        assert {(row["p"], row["holm_p"], row["low"], row["high"]) for row in found["differences"]} == {(1, 1, -1, 1)}


@pytest.mark.parametrize("images", [2, 3])
def test_a_perfect_model_on_a_few_images_shows_nothing(tmp_path: Path, images: int) -> None:
    rows = 5 * images
    found = compared(tmp_path, bad=predictions(0, 2)[:rows], good=predictions(1, 1)[:rows])
    assert answers(found) == {("good", "bad"): "not shown"}


def test_equal_files_and_ties_show_nothing(tmp_path: Path) -> None:
    table = predictions(0.6, 1)
    assert set(answers(compared(tmp_path, a=table, b=table)).values()) == {"not shown"}
    right, wrong = predictions(1, 1), predictions(0, 1)
    found = compared(tmp_path, a=pd.concat([right[:100], wrong[100:]]), b=pd.concat([wrong[:100], right[100:]]))
    assert {row["estimate"] for row in found["differences"]} == {0}
    assert set(answers(found).values()) == {"not shown"}
    assert all(row["detectable"] > 0 for row in found["differences"])
    path = save(tmp_path / "x.csv", table)
    assert "A difference between b and a is not shown: +0.0" in invoke(f"a={path}", f"b={path}").stdout


def test_questions_about_an_image_count_once(tmp_path: Path) -> None:
    """Forty questions about four images are no forty images: nothing is shown that independence would show."""
    base, good = predictions(0, 1, 4, 40), predictions(1, 1, 4, 40)
    wins = good.where(good["image_name"].isin(["0.jpg", "1.jpg", "2.jpg"]), base)
    assert set(answers(compared(tmp_path, base=base, good=wins)).values()) == {"not shown"}
    grouped = [table.assign(image_group=table.index // 5 % 2) for table in (predictions(0, 1), predictions(1, 1))]
    found = compared(tmp_path, base=grouped[0], good=grouped[1])
    assert (found["groups"], set(answers(found).values())) == (2, {"not shown"})
    assert "40 images in 2 groups" in found["printed"]


def test_conditions_that_differ_are_named(tmp_path: Path) -> None:
    table = predictions(0.7, 1)
    asked = {name: table.assign(condition=name) for name in ("open", "options")}
    found = compared(tmp_path, a=asked["open"], b=asked["options"], c=table)
    said = [f"{tmp_path}/{name}-0.csv" for name in "abc"]
    assert (
        f"{said[0]} was asked under open, {said[1]} was asked under options, {said[2]} has no condition: a difference "
        "is one of conditions, too." in found["printed"]
    )
    assert list(found["conditions"].values()) == ["open", "options", ""]
    assert "one of conditions" not in compared(tmp_path, a=asked["open"], b=asked["open"])["printed"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"condition": "open"}, "run: its files differ in the condition: {0} open, {1} options"),
        ({"condition": "options", "options": None}, "run: its files differ in options: {0} none, {1} some"),
    ],
)
def test_runs_of_one_model_are_asked_alike(tmp_path: Path, columns: dict, says: str) -> None:
    table = predictions(0.7, 1).assign(condition="options", options=json.dumps(COLORS))
    files = [save(tmp_path / f"{place}.csv", each) for place, each in enumerate((table.assign(**columns), table))]
    done = invoke(f"base={files[1]}", *(f"run={path}" for path in files))
    assert (done.exit_code, says.format(*files) in done.stderr) == (1, True), done.output
    table.drop(columns="condition").to_csv(files[0], index=False)
    assert invoke(f"base={files[1]}", *(f"run={path}" for path in files)).exit_code == 0, "it may be of any condition"


def test_both_matches_are_shown_and_empty_predictions_are_wrong(tmp_path: Path) -> None:
    table = predictions(1, 1)
    plural = table.assign(generated_answer=table["generated_answer"] + "s")
    silent = table.assign(generated_answer=[None, " ", "...", *table["generated_answer"][3:]])
    found = compared(tmp_path, plural=plural, silent=silent)
    first, second = found["models"]
    assert (first["exact"]["accuracy"], first["tolerant"]["accuracy"], first["empty"]) == (0, 1, 0)
    assert (second["exact"]["accuracy"], second["tolerant"]["accuracy"], second["empty"]) == (0.985, 0.985, 3)
    assert (answers(found), answers(found, "tolerant")) == (
        {("silent", "plural"): "better"},
        {("silent", "plural"): "not shown"},
    )
    assert "by the tolerant match: not shown." in found["printed"] and "Tolerant: also ignores" in found["printed"]


def test_types_are_shown_and_missing_options_are_named(tmp_path: Path) -> None:
    table = predictions(0.7, 1)
    typed = table.assign(type=["color", "shape"] * 100, options=[json.dumps(COLORS)] * 200)
    found = compared(tmp_path, a=typed, b=predictions(0.7, 2))
    right = (typed["answer"] == typed["generated_answer"]).groupby(typed["type"]).mean()
    assert found["by_type"]["shape"] == {"n": 100, "accuracy": {"a": right["shape"], "b": pytest.approx(0.7, abs=0.15)}}
    assert "exact, by type" in found["printed"]
    assert f"No options in {tmp_path}/b-0.csv, but in other files" in found["printed"]


@given(st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, random) -> None:
    folder = tmp_path_factory.mktemp("shuffled")
    tables = {"a": predictions(0.5, 1, 6), "b": [predictions(0.7, seed, 6) for seed in (2, 3, 4)]}

    def shuffled(table: pd.DataFrame) -> pd.DataFrame:
        return table.sample(frac=1, random_state=random.randrange(2**31))

    mixed = {"a": shuffled(tables["a"]), "b": list(map(shuffled, tables["b"]))}
    assert compared(folder, **mixed) == compared(folder, **tables)


def test_formats_and_column_names_do_not_matter(tmp_path: Path) -> None:
    table = predictions(0.7, 2)
    other = table.rename(columns={"image_name": "Image Path", "answer": "label", "generated_answer": "Response"})
    files = [save(tmp_path / name, other) for name in ("b.parquet", "c.jsonl", "d.csv.gz")]
    printed = invoke(save(tmp_path / "a.csv", table), *files)
    assert printed.exit_code == 0, printed.stderr
    rows = [line for line in printed.stdout.splitlines() if line.startswith(("| a ", "| b ", "| c ", "| d "))]
    assert len({line[5:].strip() for line in rows[:4]}) == 1


# The command line.


def test_names_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1.csv").touch()
    found = named_files(["one/results.csv", "x=two/results.csv", "x=three/results.csv", "lr=0.1.csv", "y.jsonl.gz"])
    assert {name: len(paths) for name, paths in found.items()} == {"results": 1, "x": 2, "lr=0.1": 1, "y": 1}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["a.csv"], r"only one model \(a\)"),
        (["x=a.csv", "x=b.csv"], r"only one model \(x\)"),
        (["a/results.csv", "b/results.csv"], "would both be named results; give NAME=FILE"),
        (["results.csv", "results=b.csv"], "would both be named results"),
        (["=a.csv", "b.csv"], "=a.csv: must be FILE or NAME=FILE"),
        (["x=a.csv", "x=./a.csv", "b.csv"], "x: a file is given twice"),
        (["x=1", "x=2", "y=3", "y=4", "y=5", "z=6"], "x 2, y 3; give each model as many runs, or one"),
    ],
)
def test_wrong_files_are_named(files: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        named_files(files)


def test_errors_are_one_line_with_status_1(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", predictions(0.7, 2))
    missing = save(tmp_path / "b.csv", predictions(0.7, 2)[1:])
    for arguments in ([path, "nowhere.csv"], [path, missing], [path, f"b={path}", "--json", str(tmp_path / "no/x")]):
        done = invoke(*arguments)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.output
        assert done.stderr.startswith("abo-vqa compare: error: ")


def test_no_model_is_loaded_and_no_torch_imported(root: Path, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.csv", predictions(0.7, seed)) for seed, name in enumerate("ab")]
    code = (
        "import sys; from abo_vqa.commands.app import app\n"
        f"try: app({['compare', *files]})\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
