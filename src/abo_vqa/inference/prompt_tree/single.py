"""Answer prompts with a sequence each, by the model's own code: where an image cannot be shared."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from abo_vqa.inference.prompt_tree.scorer import Answer, Prompt
from abo_vqa.model.collators import Question, QuestionCollator, check_length, encode_prompts
from abo_vqa.model.self_check import log_probability_alone


class SingleScorer:
    """Answers as Scorer does, slowly: a forward pass for every option, and a generation for every prompt."""

    def __init__(self, model: Any, collator: QuestionCollator, max_new_tokens: int) -> None:
        """Take a model in evaluation mode and a collator with its images."""
        self.model, self.collator = model, collator
        tokenizer = collator.tokenizer
        self._ends = collator.processor.ends
        # All of it: models' own settings may sample or penalize repetitions.
        self._greedy = GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, eos_token_id=list(self._ends),
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )  # fmt: skip

    def together(self, prompts: Mapping[str, Iterable[Prompt]]) -> list[list[str]]:
        """Return the images, each by itself; prompts: by image."""
        return [[image] for image in prompts]

    def ask(self, image_id: str, prompts: Sequence[Prompt]) -> list[Answer]:
        """Return the answer to each prompt about an image; InputError for a bad image or too long a prompt."""
        answers = {prompt: self._answer(image_id, prompt) for prompt in dict.fromkeys(prompts)}
        return [answers[prompt] for prompt in prompts]

    def ask_together(self, prompts: Mapping[str, Sequence[Prompt]]) -> dict[str, list[Answer]]:
        """Return the answers to the prompts about each image, as `ask`."""
        return {image: self.ask(image, of) for image, of in prompts.items()}

    @torch.inference_mode()
    def _answer(self, image_id: str, prompt: Prompt) -> Answer:
        collator = self.collator
        examples = [
            {"qa_id": image_id, "image": image_id, "text": prompt.text, "answer": option} for option in prompt.options
        ]
        scores = tuple(log_probability_alone(self.model, collator, example, self._ends) for example in examples)
        lengths = tuple(
            len(collator.tokenizer.encode(option, add_special_tokens=False)) + 1 for option in prompt.options
        )
        question = Question(image_id, collator.images[image_id], prompt.text, "")
        encoded = encode_prompts(collator.processor, [question], "left")
        inputs = {name: value.to(self.model.device) for name, value in encoded.items() if name != "labels"}
        length = inputs["input_ids"].shape[1]
        check_length(f"{image_id}: {prompt.text[:80]!r}", length + self._greedy.max_new_tokens, collator.context)
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        base.generation_config = self._greedy
        said = self.model.generate(**inputs)[0, length:].tolist()
        ended = next((place + 1 for place, token in enumerate(said) if token in self._ends), len(said))
        text = collator.tokenizer.decode(said[:ended], skip_special_tokens=True).strip()
        return Answer(text, tuple(said[:ended]), scores, lengths)
