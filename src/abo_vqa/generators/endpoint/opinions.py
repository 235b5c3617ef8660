"""Second opinions: a model answers the questions of raw outputs without seeing the proposed answers."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from abo_vqa.common.digests import digest
from abo_vqa.common.draws import derive_rng, derive_seed
from abo_vqa.common.errors import InputError
from abo_vqa.common.journal import open_journal
from abo_vqa.common.params import Params
from abo_vqa.common.params.data import EndpointParams
from abo_vqa.common.project import project_root
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.endpoint.asking import Asking, Progress, Wanted
from abo_vqa.generators.endpoint.budget import Ledger
from abo_vqa.generators.endpoint.kept import Kept
from abo_vqa.generators.vlm import JOURNALS

if TYPE_CHECKING:
    from abo_vqa.common.tracking.run import Run


class _Asked(NamedTuple):
    """A question of an output: the place of the output and of the question in it, its prompt and key."""

    output: int
    place: int
    prompt: str
    key: str


def add_opinions(
    outputs: Sequence[RawOutput],
    images: Mapping[str, bytes],
    params: Params,
    tracked: "Callable[[str, Params, Mapping[str, str]], AbstractContextManager[Run]]",
) -> tuple[list[RawOutput], dict[str, Any]]:
    """Return the outputs with the opinions of the model in generate.verify, and counts.

    images: by image path. Asked are questions with options in outputs that are plain JSON, in another order of the
    options. Raises InputError as the source endpoint does; opinions that have arrived are kept and reused.
    """
    server = params.generate.verify.server(params.generate.endpoint)
    asked = [one for place, output in enumerate(outputs) for one in _questions(place, output, images, params)]
    wanted = [
        Wanted(one.key, partial(_request, server, one, outputs[one.output].image_path, images, params.seed))
        for one in asked
    ]
    settings = [server.base_url, server.model, server.image_side, server.max_tokens, server.temperature, server.seed]
    with open_journal(project_root() / JOURNALS / f"verify-{digest([*settings, params.seed])}.db") as journal:
        kept = Kept(journal)
        missing = {one.key: one for one in wanted if one.key not in kept.answers}
        if missing:
            with tracked("generate verify", params, {"source": "verify", "model": server.model}) as run:
                progress = Progress("verify", run, len(kept.answers), lambda answer: None)
                asyncio.run(Asking(server, {}, kept, progress).ask(list(missing.values())))
    opinions: list[dict[str, str]] = [{} for _ in outputs]
    ledger = Ledger(server)
    for one in asked:
        if answer := kept.answers.get(one.key):
            opinions[one.output][str(one.place)] = answer["text"]
            ledger.add(answer)
    unanswered = len(asked) - sum(map(len, opinions))
    if unanswered > server.max_unanswered * len(asked):
        raise InputError(
            f"generate.verify: {unanswered} of {len(asked)} questions have no second opinion, more than "
            f"generate.endpoint.max_unanswered {server.max_unanswered:.1%}; the others are kept: run the stage again"
        )
    report = {
        "model": server.model,
        "base_url": server.base_url,
        "asked": len(asked),
        "unanswered": unanswered,
        "tokens": {"input": ledger.input_tokens, "output": ledger.output_tokens},
        "cost": None if ledger.money is None else round(ledger.money, 6),
    }
    return [replace(output, opinions=own) for output, own in zip(outputs, opinions, strict=True)], report


def _questions(place: int, output: RawOutput, images: Mapping[str, bytes], params: Params) -> Iterator[_Asked]:
    try:
        entries = json.loads(output.output)["questions"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return
    picture = hashlib.sha256(images[output.image_path]).hexdigest()[:16]
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        options = _options(entry) if isinstance(entry, dict) else []
        if len(options) < 2 or not isinstance(entry.get("question"), str):
            continue
        # In an order that says nothing of the answer, which the models write first.
        options = sorted(set(options))
        derive_rng(params.seed, "verify", output.image_path, number).shuffle(options)
        prompt = params.prompt.text(entry["question"], options)
        yield _Asked(place, number, prompt, f"{picture} {output.image_path} {digest(prompt)}")


def _options(entry: Mapping[str, Any]) -> list[str]:
    given = entry.get("options")
    if isinstance(given, dict):
        given = list(given.values())
    if not isinstance(given, list):
        others = entry.get("distractors")
        given = [entry.get("answer"), *others] if isinstance(others, list) else []
    return [str(option) for option in given if isinstance(option, str | int) and str(option)]


def _request(server: EndpointParams, one: _Asked, path: str, images: Mapping[str, bytes], seed: int) -> dict[str, Any]:
    from abo_vqa.generators.endpoint.client import data_url, request_body

    image = data_url(path, images[path], server.image_side)
    return request_body(server, one.prompt, image, derive_seed(seed, "verify", one.key))
