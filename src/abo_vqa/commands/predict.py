"""`abo-vqa predict`: answer a question about an image with the base model and the trained arms."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from abo_vqa.commands.project_option import Project, enter_project, user_path
from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    from abo_vqa.serving.answering import Reply

EXAMPLES = """
abo-vqa predict chair.jpg "What color is the chair?"
abo-vqa predict chair.jpg "What color is the chair?" --options red,blue,black,white
abo-vqa predict chair.jpg "Which two?" --options red,blue --option "black, white" --model options
"""


class Command(TyperCommand):
    """Splits values of --options at commas, keeping their order among those of --option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with each `--options A,B` as `--option A --option B`."""
        return super().parse_args(ctx, list(_one_each(args)))


def _one_each(arguments: Iterable[str]) -> Iterator[str]:
    rest = iter(arguments)
    for argument in rest:
        name, equals, text = argument.partition("=")
        given = text if equals else next(rest, None) if name == "--options" else None
        if name != "--options" or given is None:
            yield argument
        else:
            for part in given.split(","):
                yield from ("--option", part.strip())


def main(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="JPEG, PNG, WEBP, GIF or BMP file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--options",
            "--option",
            metavar="A,B,...",
            help="Options to choose from; --option takes a single one that may contain commas. Repeatable. "
            "Without options the question is open.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="base, an arm, or one of its runs. Repeatable. Default: all.", show_default=False
        ),
    ] = None,
    project: Project = None,
) -> None:
    """Answer a question with the base model and the arms.

    Prints a table: a row per model with its answer and, if options are given, their probabilities. The arms need their
    adapters: `dvc repro` trains them, `dvc pull` fetches them.
    """
    here = enter_project(project)
    # Imported step by step: errors are reported before torch, which takes seconds to import.
    from abo_vqa.common.params import read_params
    from abo_vqa.common.params.model import BASE
    from abo_vqa.serving.checks import check_options, check_question, read_image

    params = read_params()
    for name in model or ():
        if name not in (*params.models(), *params.arms):
            known = ", ".join(dict.fromkeys([*params.compared(), *params.models()]))
            raise InputError(f"--model {name}: no such model; params.yaml has {known}")
    runs = [params.runs_of(name) if name in params.arms else [name] for name in model or params.compared()]
    names = list(dict.fromkeys(name for several in runs for name in several))
    data, question, choices = read_image(user_path(here, image)), check_question(question), check_options(options)

    # Keep the libraries' messages out of the answer.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    from abo_vqa.common.layout import adapter_folder
    from abo_vqa.serving.answering import Answerer, Question

    adapters = {name: adapter_folder(name) for name in names if name != BASE}
    answerer = Answerer(params.model, adapters, params.evaluate.max_new_tokens, params.evaluate.tokens_per_pass)
    print(table({name: answerer.answer_checked(data, [Question(question, choices)], name)[0] for name in names}))


def table(replies: "dict[str, Reply]") -> str:
    """Return a Markdown table: a row per model with its answer and the probability of each option."""
    from abo_vqa.statistics.display import markdown_table, percent

    first = next(iter(replies.values())).probabilities or {}
    rows = [
        [name, reply.answer, *(percent(share, 1) for share in (reply.probabilities or {}).values())]
        for name, reply in replies.items()
    ]
    return markdown_table(["model", "answer", *first], rows)
