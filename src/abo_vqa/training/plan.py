"""The order of the training questions, and a check that labels cover the answer alone."""

import random
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import PAPER_PROMPT, ArmParams, PromptParams
from abo_vqa.model.collators import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

# How many of the next images are tried for the rest of a step, so that the time stays linear.
_LOOKED_AT = 64


def training_questions(
    rows: Sequence[Mapping[str, Any]],
    arm: ArmParams,
    epochs: float,
    seed: int,
    by_image: bool,
    prompt: PromptParams = PAPER_PROMPT,
    per_step: int = 18,
) -> "Dataset":
    """Return all questions of a training run in training order, epoch after epoch.

    The order, and whether each prompt shows its options, is drawn from the seed in advance, so that interruptions do
    not change a run. Columns: qa_id, image (the image's id; TRL recognizes vision data by this name), text, answer.
    """
    from datasets import Dataset  # slow to import, and the other functions do not need it

    plan = training_plan([row["image_id"] for row in rows], epochs, arm, seed, by_image, per_step)
    return Dataset.from_list([asked_row(rows[index], shown, prompt) for index, shown in plan])


def asked_row(row: Mapping[str, Any], with_options: bool, prompt: PromptParams = PAPER_PROMPT) -> dict[str, str]:
    """Return a table row as the collators' input, with or without its options in the prompt."""
    text = prompt.text(row["question"], list(row["options"]) if with_options else None)
    return {"qa_id": row["qa_id"], "image": row["image_id"], "text": text, "answer": row["answer"]}


def validation_questions(
    rows: Sequence[Mapping[str, Any]], count: int, seed: int, prompt: PromptParams = PAPER_PROMPT
) -> list[dict[str, str]]:
    """Return `count` questions drawn from the validation split, each without and with its options, image by image.

    Every arm is validated by the same prompts, whether or not its own show the options; they depend only on the seed.
    """
    drawn = derive_rng(seed, "validation").sample(list(rows), min(count, len(rows)))
    drawn.sort(key=lambda row: (row["image_id"], row["qa_id"]))
    return [asked_row(row, with_options, prompt) for row in drawn for with_options in (False, True)]


def training_plan(
    images: Sequence[str], epochs: float, arm: ArmParams, seed: int, by_image: bool, per_step: int = 18
) -> list[tuple[int, bool]]:
    """Return, for every position in the run, the question's index and whether its options are shown.

    images: the image of each question. `by_image` shuffles images and keeps the questions of each together, in one
    optimizer step of `per_step` questions where they fit; otherwise questions are shuffled one by one. The order
    depends only on these and the seed, so that all arms see the same questions at the same steps.
    """
    total = round(len(images) * epochs)
    groups: dict[Any, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image if by_image else index, []).append(index)
    order: list[int] = []
    while len(order) < total:
        epoch = list(groups.values())
        rng = derive_rng(seed, "order", len(order))
        rng.shuffle(epoch)
        if by_image:
            epoch = _whole_in_steps(epoch, per_step, len(order), rng)
        order += (index for group in epoch for index in group)
    coin = derive_rng(seed, "options-shown")
    return [(index, _show_options(place, total, arm, coin)) for place, index in enumerate(order[:total])]


def _whole_in_steps(images: list[list[int]], per_step: int, before: int, rng: random.Random) -> list[list[int]]:
    """Reorder an epoch's images, each a list of questions, so that few are divided between optimizer steps.

    Every part of a divided image costs another pass over its tokens. before: questions of the earlier epochs.
    """
    room = per_step - before % per_step
    steps: list[list[list[int]]] = [[]]
    while images:
        place = next((place for place, image in enumerate(islice(images, _LOOKED_AT)) if len(image) <= room), None)
        if place is None:
            steps[-1].append(images[0][:room])
            images[0] = images[0][room:]
        else:
            steps[-1].append(images.pop(place))
        room -= len(steps[-1][-1])
        if not room:
            steps.append([])
            room = per_step
    # Images of few questions fit first: without this, they would be asked at the start of an epoch.
    whole = steps[1:-1]
    rng.shuffle(whole)
    return [image for step in [steps[0], *whole, *steps[1:][-1:]] for image in step]


def _show_options(place: int, total: int, arm: ArmParams, coin: random.Random) -> bool:
    progress = place / max(1, total - 1)
    share = arm.options_first + (arm.options_last - arm.options_first) * progress
    return coin.random() < share


def refuse_special_tokens(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError, naming the question, if a question's texts have one of the tokenizer's special tokens.

    An <image> too many would end the training in its midst. Stage validate refuses what looks like markup; here the
    model's own tokens are known.
    """
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    if not special:
        return
    any_of_them = re.compile("|".join(map(re.escape, sorted(special, reverse=True))))
    for row in rows:
        for text in (row["question"], row["answer"], *row["options"]):
            if found := any_of_them.search(text):
                raise InputError(
                    f"question {row['qa_id']}: {text!r} contains {found[0]}, a special token of model.base; remove it "
                    "from the raw outputs"
                )


def audit_labels(collator: Any, dataset: "Dataset", questions: int = 256) -> str:
    """Raise InputError unless the labels of the first questions decode to exactly answer + end token.

    The questions of the run that are longest with their answers are collated too, so that one beyond the context fails
    before training starts. Returns the first question's prompt and label as text. The error names the first wrong
    question; this check would have stopped the paper's training run.
    """
    # In bytes: letters that the tokenizer does not know become a token a byte.
    texts = zip(dataset["text"], dataset["answer"], strict=True)
    lengths = [len(text.encode()) + len(answer.encode()) for text, answer in texts]
    longest = sorted(range(len(dataset)), key=lambda place: -lengths[place])[:8]
    for start in range(0, min(questions, len(dataset)), 32):
        _audit(collator, [dataset[place] for place in range(start, min(start + 32, len(dataset)))])
    _audit(collator, [dataset[place] for place in longest])
    first = dataset[0]
    return f"prompt: {first['text']!r}\nlabels: {first['answer'] + _end(collator)!r}"


def _audit(collator: Any, examples: Sequence[Mapping[str, str]]) -> None:
    labels = collator(examples)["labels"].flatten().tolist()
    found = _labeled_runs(labels, collator.processor.ends[0])
    expected = [example["answer"] + _end(collator) for example in examples]
    decoded = [collator.tokenizer.decode(run, skip_special_tokens=False) for run in found]
    for place, example in enumerate(examples):
        shown = decoded[place] if place < len(decoded) else ""
        if shown != expected[place]:
            raise InputError(
                f"question {example['qa_id']}: the labels decode to {shown!r}, not to answer and end token "
                f"{expected[place]!r}; training on them would teach the wrong thing"
            )
    if len(decoded) != len(examples):
        raise InputError(f"question {examples[-1]['qa_id']}: extra labels after its answer: {decoded[-1]!r}")


def _end(collator: Any) -> str:
    return str(collator.tokenizer.convert_ids_to_tokens(collator.processor.ends[0]))


def _labeled_runs(labels: Sequence[int], end: int) -> list[list[int]]:
    """Split the labels of a batch into runs, at ignored tokens and after every end token."""
    runs: list[list[int]] = [[]]
    for label in labels:
        if label != IGNORED:
            runs[-1].append(label)
        if (label == IGNORED or label == end) and runs[-1]:
            runs.append([])
    return [run for run in runs if run]
