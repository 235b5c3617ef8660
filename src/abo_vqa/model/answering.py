"""Ask a model questions about images and read what it generates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from abo_vqa.model.features import as_model_input
from abo_vqa.model.shared_image import ImageCollator


@torch.inference_mode()
def answer_questions(
    model: Any,
    collator: ImageCollator,
    questions: Sequence[Mapping[str, str]],
    batch_size: int,
    max_new_tokens: int,
    label: str,
) -> list[str]:
    """Return the greedily generated answer to each question, special tokens removed; `label` names the progress bar.

    questions: as batches.asked_row gives them.
    """
    # Questions of like length share a batch, so that little is padded; the answers go back in the order asked.
    order = sorted(range(len(questions)), key=lambda index: (len(questions[index]["text"]), index))
    answers = [""] * len(questions)
    tokenizer = collator.tokenizer
    for start in tqdm(range(0, len(order), batch_size), desc=label, mininterval=2):
        chosen = order[start : start + batch_size]
        inputs = collator.prompts([questions[index] for index in chosen])
        features = inputs.pop("image_features", None)
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        if features is not None:
            inputs |= as_model_input([feature.to(model.device) for feature in features])
        generated = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        fresh = generated[:, inputs["input_ids"].shape[1] :]
        for index, text in zip(chosen, tokenizer.batch_decode(fresh, skip_special_tokens=True), strict=True):
            answers[index] = text.strip()
    return answers
