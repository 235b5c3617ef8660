"""`abo-vqa compare`: compare two or more models by anybody's tables of predictions; no model is loaded."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    from abo_vqa.commands.prediction_files import Prediction

CONFIDENCE = 0.95

EXAMPLES = """
abo-vqa compare base.csv tuned.csv
abo-vqa compare base=base.csv tuned=run1.csv tuned=run2.csv tuned=run3.csv --json compared.json
abo-vqa compare base.parquet tuned.parquet --condition open
"""


def main(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...",
            help="[NAME=]FILE: CSV, Parquet, JSON or JSON lines (or .gz). Files of one NAME are its training runs, in "
            "any order: runs of two models are taken as independent. Default name: the file's.",
        ),
    ],
    condition: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of files with a column `condition`, these rows only.", show_default=False),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.", show_default=False)
    ] = None,
) -> None:
    """Compare models by tables of their predictions.

    Needs no project and loads no model. A table has the columns image, question, answer (the right one) and prediction,
    and may have options, question_type, question_id and image_group. Prints accuracies, and every pair's difference
    with a verdict: better, worse, not shown, or cannot be said.
    """
    paths = named_files(files)

    from abo_vqa.commands.compare_markdown import render
    from abo_vqa.commands.model_pairs import compare_models
    from abo_vqa.commands.prediction_files import read_predictions
    from abo_vqa.commands.prediction_matching import match_files

    read = {path: read_predictions(path, condition) for runs in paths.values() for path in runs}
    for name, runs in paths.items():
        check_runs(name, {path: read[path] for path in runs})
    tables = dict(zip(read, match_files(read), strict=True))
    compared = compare_models({name: [tables[path] for path in runs] for name, runs in paths.items()}, CONFIDENCE)
    shown = {str(path): any(row.options for row in rows) for path, rows in read.items()}
    compared["files"] = {name: list(map(str, runs)) for name, runs in paths.items()}
    compared["without_options"] = [name for name, has in shown.items() if not has] if any(shown.values()) else []
    compared["conditions"] = {str(path): rows[0].condition for path, rows in read.items()}
    if json_file:
        try:
            json_file.write_text(json.dumps(compared, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--json {json_file}: cannot be written: {error.strerror}") from error
    print(render(compared))


def named_files(given: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of each model; raises InputError for one model, a file given twice, or an ambiguous name."""
    files: dict[str, list[Path]] = {}
    by_stem: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).is_file():
            path = text
            name = Path(text).name.removesuffix(".gz").rpartition(".")[0] or text
            by_stem.setdefault(name, text)
        elif not name or not path:
            raise InputError(f"{text}: must be FILE or NAME=FILE")
        if name in files and name in by_stem:
            raise InputError(f"{files[name][0]} and {path} would both be named {name}; give NAME=FILE")
        files.setdefault(name, []).append(Path(path))
    for name, paths in files.items():
        if len({path.resolve() for path in paths}) < len(paths):
            raise InputError(f"{name}: a file is given twice; a copy is no other training run")
    if len(files) < 2:
        raise InputError(f"only one model ({', '.join(files)}); give the files of two or more")
    counts = {name: len(paths) for name, paths in files.items() if len(paths) > 1}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"files: {listed}; give each model as many runs, or one")
    return files


def check_runs(name: str, runs: Mapping[Path, Sequence["Prediction"]]) -> None:
    """Raise InputError if files of one model were asked differently: they would not differ by training alone.

    A file without a condition may be of any.
    """
    for what, of in (
        ("the condition", {path: rows[0].condition for path, rows in runs.items() if rows[0].condition}),
        ("options", {path: "some" if any(row.options for row in rows) else "none" for path, rows in runs.items()}),
    ):
        if len(set(of.values())) > 1:
            listed = ", ".join(f"{path} {value}" for path, value in of.items())
            raise InputError(f"{name}: its files differ in {what}: {listed}; give them as models of different names")
