"""Ask a model every question under every condition, each image once, and score what it says."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from PIL import Image
from tqdm import tqdm

from abo_vqa.inference.conditions import Asked
from abo_vqa.inference.prompt_tree import Answer, Prompt, Scorer
from abo_vqa.metrics.answers import PairScorer, score_answers
from abo_vqa.model.base.prompts import OPEN_SUFFIX, question_text

BLANK = "blank"  # id of the image that is shown under a condition with image: blank
_OPTIONS_TOGETHER = 64


def blank_image() -> bytes:
    """Return a grey picture of the size of ABO's small ones, as a PNG file."""
    with io.BytesIO() as file:
        Image.new("RGB", (256, 256), (127, 127, 127)).save(file, "PNG")
        return file.getvalue()


def ask_all(
    model: Scorer,
    rows: Sequence[Mapping[str, Any]],
    asked: Mapping[str, Sequence[Asked]],
    scorer: PairScorer,
    label: str,
) -> pd.DataFrame:
    """Return the predictions of all conditions, as measure.metrics.score_answers gives them, in their order.

    rows: the questions, by which `asked` (by condition) was made. The model must know the image BLANK. label: names the
    progress bar.
    """
    prompts: dict[str, dict[Prompt, None]] = {}
    for questions in asked.values():
        for question in questions:
            prompts.setdefault(_image(question), {}).update(dict.fromkeys(_prompts(question)))
    answers: dict[tuple[str, Prompt], Answer] = {}
    for image, distinct in tqdm(prompts.items(), desc=label, unit=" images", mininterval=2):
        answers |= {(image, p): answer for p, answer in zip(distinct, model.ask(image, list(distinct)), strict=True)}
    unasked = _unasked(model, sorted({o for questions in asked.values() for q in questions for o in q.options}))
    by_id = {row["qa_id"]: row for row in rows}
    parts = []
    for condition, questions in asked.items():
        if not questions:  # `matched` may keep none
            continue
        said = [[answers[_image(question), prompt] for prompt in _prompts(question)] for question in questions]
        parts.append(score_answers(by_id, questions, said, condition, scorer, unasked))
    return pd.concat(parts, ignore_index=True)


def _image(question: Asked) -> str:
    return BLANK if question.blank else question.image_id


def _prompts(question: Asked) -> list[Prompt]:
    shown = question.rotations or (None,)
    return [Prompt(question_text(question.question, options), question.options) for options in shown]


def _unasked(model: Scorer, options: Sequence[str]) -> dict[str, float]:
    """Return each option's log-probability when nothing is asked about nothing: what its wording alone is worth.

    The domain premise of Holtzman et al. 2021, for the ranking by pointwise mutual information.
    """
    parts = [tuple(options[start : start + _OPTIONS_TOGETHER]) for start in range(0, len(options), _OPTIONS_TOGETHER)]
    answers = model.ask(BLANK, [Prompt(OPEN_SUFFIX, part) for part in parts])
    pairs = (zip(part, answer.log_probabilities, strict=True) for part, answer in zip(parts, answers, strict=True))
    return dict(pair for part in pairs for pair in part)
