"""Ask a model questions about images and read what it generates."""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from abo_vqa.model.batches import Question, encode_prompts


@torch.inference_mode()
def answer_questions(
    model: Any,
    processor: Any,
    questions: Sequence[Question],
    batch_size: int,
    max_new_tokens: int,
    label: str,
) -> list[str]:
    """Return the greedily generated answer to each question, special tokens removed; `label` names the progress bar."""
    # Questions of like length share a batch, so that little is padded; the answers go back in the order asked.
    order = sorted(range(len(questions)), key=lambda index: (len(questions[index].text), index))
    answers = [""] * len(questions)
    for start in tqdm(range(0, len(order), batch_size), desc=label, mininterval=2):
        chosen = order[start : start + batch_size]
        inputs = encode_prompts(processor, [questions[index] for index in chosen], padding_side="left")
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        generated = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=processor.tokenizer.eos_token_id,
            pad_token_id=processor.tokenizer.pad_token_id,
        )
        fresh = generated[:, inputs["input_ids"].shape[1] :]
        texts = processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text.strip()
    return answers
