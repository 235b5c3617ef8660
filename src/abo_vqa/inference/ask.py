"""Run a model on every question under every condition, processing each image once."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image
from tqdm import tqdm

from abo_vqa.common.params.model import PromptParams
from abo_vqa.inference.conditions import BLANK, Asked, identity
from abo_vqa.inference.prompt_tree.scorer import Answer, Prompt, Scorer
from abo_vqa.inference.prompt_tree.single import SingleScorer

if TYPE_CHECKING:
    from abo_vqa.inference.remote import RemoteScorer

_PRIOR = "prior"  # entry of the options' prior log-probabilities; all other entries belong to an image
_OPTIONS_TOGETHER = 64

Entry = dict[str, Any]
Task = Mapping[str, Sequence[Prompt]]  # the prompts about each of some images, which are asked together
Answers = dict[str, list[Answer]]


def blank_image() -> bytes:
    """Return a gray image of the size of ABO's small ones, as a PNG file."""
    with io.BytesIO() as file:
        Image.new("RGB", (256, 256), (127, 127, 127)).save(file, "PNG")
        return file.getvalue()


def ask_all(
    model: "Scorer | SingleScorer | RemoteScorer",
    prompt: PromptParams,
    rows: Sequence[Mapping[str, Any]],
    asked: Mapping[str, Sequence[Asked]],
    label: str,
    known: Mapping[str, Any] | None = None,
    keep: Callable[[str, Any], None] = lambda key, entry: None,
    ask_each: Callable[[Sequence[Task]], Iterable[Answers]] | None = None,
) -> pd.DataFrame:
    """Return the answers under all conditions, one row per question and condition, for `metrics.answers` to score.

    rows: the questions; asked: the same by condition, as `ask_under` returns them. The model must know the image BLANK.
    label: of the progress bar. known: entries kept by an earlier, interrupted call with the same arguments, which are
    reused; keep: called with each new entry, one per image. ask_each: answers tasks one after another, in their order;
    None: the model does.

    Columns: qa_id, image_id, image_group (near duplicates share one; the image where a question has none), shown_image,
    question_type, condition, answer (gold), options, shown (whether the options were shown); with one element per order
    of the options: generated, log_probabilities and lengths (of each option, in the order of `options`); prior: each
    option's log-probability without image and question.
    """
    known = known or {}
    answers: dict[tuple[str, Prompt], Answer] = {}
    by_image = prompts_by_image(asked, prompt)
    groups = model.together(by_image)
    # Images of a group that was interrupted are asked again with the others: alone, last bits would differ.
    tasks: list[Task] = [{i: list(by_image[i]) for i in images} for images in groups if not known.keys() >= set(images)]
    options = sorted({o for questions in asked.values() for q in questions for o in q.options})
    if _PRIOR not in known:
        tasks.append({BLANK: _prior_prompts(prompt, options)})
    given = iter(map(model.ask_together, tasks) if ask_each is None else ask_each(tasks))
    with tqdm(total=len(by_image), desc=label, unit=" images", mininterval=2) as bar:
        for images in groups:
            entries: dict[str, Any] = {image: known.get(image) for image in images}
            if None in entries.values():
                entries = {image: [asdict(answer) for answer in of] for image, of in next(given).items()}
                for image in images:
                    if image not in known:
                        keep(image, entries[image])
            for image in images:
                pairs = zip(by_image[image], entries[image], strict=True)
                answers |= {(image, p): _answer(values) for p, values in pairs}
            bar.update(len(images))
    prior = known.get(_PRIOR)
    if prior is None:
        prior = _prior(_prior_prompts(prompt, options), next(given)[BLANK])
        keep(_PRIOR, prior)
    by_id = {row["qa_id"]: row for row in rows}
    return pd.DataFrame(
        [
            identity(by_id[question.qa_id], question, condition)
            | {"prior": [prior[option] for option in question.options]}
            | _scores([answers[question.shown_image, each] for each in _prompts(question, prompt)])
            for condition, questions in asked.items()
            for question in questions
        ]
    )


def prompts_by_image(asked: Mapping[str, Sequence[Asked]], prompt: PromptParams) -> dict[str, dict[Prompt, None]]:
    """Return the distinct prompts about every image that is shown, over all conditions."""
    by_image: dict[str, dict[Prompt, None]] = {}
    for questions in asked.values():
        for question in questions:
            by_image.setdefault(question.shown_image, {}).update(dict.fromkeys(_prompts(question, prompt)))
    return by_image


def _prompts(question: Asked, prompt: PromptParams) -> list[Prompt]:
    shown = question.rotations or (None,)
    texts = [prompt.text(question.question, options) for options in shown]
    # An empty question would leave an empty line.
    return [Prompt(text if question.question else text.strip(), question.options) for text in texts]


def _answer(values: Mapping[str, Any]) -> Answer:
    # JSON has no tuples.
    return Answer(values["text"], *(tuple(values[name]) for name in ("tokens", "log_probabilities", "lengths")))


def _scores(answers: Sequence[Answer]) -> Entry:
    return {
        "generated": [answer.text for answer in answers],
        "log_probabilities": [list(answer.log_probabilities) for answer in answers],
        "lengths": [list(answer.lengths) for answer in answers],
    }


def _prior_prompts(prompt: PromptParams, options: Sequence[str]) -> list[Prompt]:
    parts = [tuple(options[start : start + _OPTIONS_TOGETHER]) for start in range(0, len(options), _OPTIONS_TOGETHER)]
    return [Prompt(prompt.without_question(), part) for part in parts]


def _prior(prompts: Sequence[Prompt], answers: Sequence[Answer]) -> dict[str, float]:
    """Return each option's prior log-probability (blank image, no question), the PMI baseline.

    The domain premise of Holtzman et al. 2021; the ranking by pointwise mutual information subtracts it.
    """
    pairs = (zip(p.options, a.log_probabilities, strict=True) for p, a in zip(prompts, answers, strict=True))
    return dict(pair for part in pairs for pair in part)
