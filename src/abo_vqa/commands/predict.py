"""Ask the base model and the trained arms a question about an image, side by side.

    PYTHONPATH=src python -m abo_vqa.commands.predict chair.jpg "What color is the chair?" --options red,blue,black,white

Without options the question is asked openly. An option with a comma in it is given by --option, which may be repeated
and mixed with --options. Models are those of params.yaml (`tested`).
"""

import argparse
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from abo_vqa.common.errors import InputError, readable_errors

if TYPE_CHECKING:
    from abo_vqa.serving.answering import Reply


def main() -> None:
    """Check what is asked, ask every model, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="JPEG, PNG, WEBP, GIF or BMP file")
    parser.add_argument("question")
    parser.add_argument("--options", action="extend", type=_at_commas, metavar="A,B,...", help="options to choose from")
    parser.add_argument("--option", action="append", dest="options", metavar="TEXT", help="one option, commas and all")
    parser.add_argument("--model", action="append", metavar="NAME", help="base or an arm; repeatable (default: all)")
    with readable_errors("predict"):
        run(parser.parse_args())


def run(args: argparse.Namespace) -> None:
    """Do what the command line says."""
    # Imported one after the other: what is wrong is reported before seconds of importing torch.
    from abo_vqa.common.params import read_params
    from abo_vqa.common.params.model import BASE
    from abo_vqa.serving.checks import check_options, check_question, read_image

    params = read_params()
    names = list(dict.fromkeys(args.model or params.tested))
    for name in names:
        if name not in params.tested:
            raise InputError(f"--model {name}: no such model; params.yaml has {', '.join(params.tested)} (tested)")
    image, question, options = read_image(args.image), check_question(args.question), check_options(args.options)

    # What libraries have to say about themselves is no part of an answer.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    from abo_vqa.serving.answering import Answerer, Question

    adapters = {name: Path(params.tested[name]) for name in names if name != BASE}
    answerer = Answerer(params.model, adapters, params.evaluate.max_new_tokens, params.evaluate.tokens_per_pass)
    print(table({name: answerer.answer_checked(image, [Question(question, options)], name)[0] for name in names}))


def _at_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def table(replies: "dict[str, Reply]") -> str:
    """Return a Markdown table: a line for every model, with its answer and the probability of each option."""
    from abo_vqa.statistics.display import markdown_table, percent

    first = next(iter(replies.values())).probabilities or {}
    rows = [
        [name, reply.answer, *(percent(share, 1) for share in (reply.probabilities or {}).values())]
        for name, reply in replies.items()
    ]
    return markdown_table(["model", "answer", *first], rows)


if __name__ == "__main__":
    main()
