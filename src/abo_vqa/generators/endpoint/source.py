"""Questions about images from an OpenAI-compatible server, written into a journal.

The journal is named after everything that is sent but the images, and its keys are the images. So a killed run goes on,
another sample asks only about its new images, and no answer in the journal is asked for again. Like that of `vlm` it is
not a DVC output, since DVC removes outputs before it runs a stage.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from abo_vqa.common.digests import digest
from abo_vqa.common.draws import derive_seed
from abo_vqa.common.errors import InputError
from abo_vqa.common.journal import open_journal
from abo_vqa.common.params import Params
from abo_vqa.common.params.data import EndpointParams
from abo_vqa.common.project import project_root
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.endpoint.asking import Asking, Progress, Wanted
from abo_vqa.generators.endpoint.budget import Ledger
from abo_vqa.generators.endpoint.kept import Kept
from abo_vqa.generators.output_schema import count_questions, failure_of, question_schema
from abo_vqa.generators.vlm import JOURNALS, read_prompt

if TYPE_CHECKING:
    from abo_vqa.common.tracking.run import Run

GENERATOR = "endpoint"
EMPTY = "empty"  # failure of an output without a character


def generate(
    rows: Sequence[Mapping[str, Any]],
    images: Sequence[bytes],
    params: Params,
    tracked: "Callable[[str, Params, Mapping[str, str]], AbstractContextManager[Run]]",
) -> tuple[list[RawOutput], dict[str, Any]]:
    """Return the server's outputs for the rows of the sample, in order, and counts.

    images: the image file of every row; tracked: opens an MLflow run, as common.tracking.run.tracked_run does. Raises
    InputError if the prompt or the key is missing, the server cannot be used, the budget is spent, or more images than
    max_unanswered have no answer. Answers that have arrived by then are kept and reused.
    """
    endpoint = params.generate.endpoint
    prompt = read_prompt(endpoint.prompt, "generate.endpoint.prompt")
    schema = question_schema(endpoint.longest_question, endpoint.longest_word)
    wanted = [
        Wanted(
            f"{hashlib.sha256(data).hexdigest()[:16]} {row['image_path']}",
            partial(_request, params, prompt, row["image_path"], data),
        )
        for row, data in zip(rows, images, strict=True)
    ]
    name = f"endpoint-{_settings_digest(endpoint, prompt, schema, params.seed)}"
    with open_journal(project_root() / JOURNALS / f"{name}.db") as journal:
        kept = Kept(journal)
        missing = {one.key: one for one in wanted if one.key not in kept.answers}
        if missing:
            with tracked("generate endpoint", params, {"source": GENERATOR, "model": endpoint.model}) as run:
                progress = Progress("generate", run, len(kept.answers), partial(_failure, schema))
                asyncio.run(Asking(endpoint, schema, kept, progress).ask(list(missing.values())))
        else:
            print(f"generate: all {len(wanted)} outputs are in {journal.path} already")
    unanswered = Counter(kept.failures[one.key][-1] for one in wanted if one.key not in kept.answers)
    _report_unanswered(unanswered, len(wanted), endpoint)
    answers = [kept.answers.get(one.key) for one in wanted]
    prompt_digest = digest(prompt)
    raw = [
        RawOutput(
            row["product_id"], row["image_path"], GENERATOR, params.seed, answer["text"], endpoint.model, prompt_digest
        )
        for row, answer in zip(rows, answers, strict=True)
        if answer is not None
    ]
    failures = Counter(failure for answer in answers if answer and (failure := _failure(schema, answer)))
    ledger = Ledger(endpoint)
    given = {one.key: answer for one, answer in zip(wanted, answers, strict=True) if answer}
    for answer in given.values():
        ledger.add(answer)
    report = {
        "outputs": len(raw),
        "products_without_output": len(rows) - len(raw),
        "unanswered": dict(unanswered),
        "outputs_valid": len(raw) - failures.total(),
        "failures": dict(failures),
        "questions": sum(count_questions(output.output) for output in raw),
        "model": {
            "name": endpoint.model,
            "base_url": endpoint.base_url,
            "as_reported": sorted({answer["model"] for answer in given.values() if answer["model"]}),
        },
        "prompt": {"digest": prompt_digest, "text": prompt},
        "schema_sent": sum(answer["structured"] for answer in given.values()),
        "max_tokens": endpoint.max_tokens,
        "tokens": {"input": ledger.input_tokens, "output": ledger.output_tokens},
        "cost": None if ledger.money is None else round(ledger.money, 6),
    }
    return raw, report


def _settings_digest(endpoint: EndpointParams, prompt: str, schema: dict[str, Any], seed: int) -> str:
    """Return the digest of everything that an answer depends on but the image: the server and what it is sent."""
    from abo_vqa.generators.endpoint.client import request_body, response_format

    sent = request_body(endpoint, prompt, "", seed) | {"response_format": response_format(schema)}
    return digest([endpoint.base_url, endpoint.structured, endpoint.image_side, seed, sent])


def _request(params: Params, prompt: str, path: str, data: bytes) -> dict[str, Any]:
    from abo_vqa.generators.endpoint.client import data_url, request_body

    endpoint = params.generate.endpoint
    image = data_url(path, data, endpoint.image_side)
    return request_body(endpoint, prompt, image, derive_seed(params.seed, "generate", path))


def _failure(schema: dict[str, Any], answer: Mapping[str, Any]) -> str | None:
    ended = answer["finish"] != "length"
    return EMPTY if ended and not answer["text"].strip() else failure_of(answer["text"], ended, schema)


def _report_unanswered(kinds: Counter[str], images: int, endpoint: EndpointParams) -> None:
    count = kinds.total()
    text = (
        f"{count} of {images} images have no answer ({', '.join(f'{kind} {n}' for kind, n in sorted(kinds.items()))})"
    )
    if count > endpoint.max_unanswered * images:
        raise InputError(
            f"generate.endpoint: {text}, more than max_unanswered {endpoint.max_unanswered:.1%}; the answers are kept: "
            "run the stage again to ask about the others"
        )
    if count:
        print(f"generate: {text}, so they get no questions; `dvc repro -f generate` asks about them again")
