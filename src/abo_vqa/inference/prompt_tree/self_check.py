"""Ask a few prompts about an image both ways, on the actual weights, number format and device."""

from collections.abc import Iterable, Mapping

from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.self_check import check_agreement, log_probability_alone

PROMPTS = 3
ANSWERS = ("yes", "no")  # to prompts without options


def check_tree(scorer: Scorer, prompts: Mapping[str, Iterable[Prompt]]) -> None:
    """Raise CannotShare unless a tree of prompts scores their options as a sequence for each does.

    prompts: by image; the first few about the first image are asked.
    """
    image_id, about_it = next(iter(prompts.items()))
    asked = [Prompt(prompt.text, prompt.options or ANSWERS) for prompt in list(about_it)[:PROMPTS]]
    collator = scorer.collator
    single = QuestionCollator(collator.processor, collator.images, collator.context)
    examples = [
        {"qa_id": image_id, "image": image_id, "text": prompt.text, "answer": option}
        for prompt in asked
        for option in prompt.options
    ]
    alone = [log_probability_alone(scorer.model, single, example, collator.processor.ends) for example in examples]
    shared = [score for answer in scorer.ask(image_id, asked) for score in answer.log_probabilities]
    check_agreement(scorer.model, shared, alone)
