"""The whole grid of conditions for an image: the stock stack, a sequence for each prompt and option, against ours.

    PYTHONPATH=src python benchmarks/eval_throughput.py [--real-data FOLDER] [--images 2] [--geometry llava-gemma-2b]

Five questions an image, 576 image tokens, eight prompts a question (open, options, three more rotations, matched,
blind, blind open) and four options behind each: greedy answers of at most 8 tokens and the options' log-probabilities.
Stock: `generate` a prompt, and one forward pass an option, as transformers' documentation has it. Same model with
random weights in NF4, same process; the answers are compared. Random weights never end an answer nor say an option, so
no answer is known without generating it: our worst case. The geometry llava-gemma-2b wants a GPU.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from geometry import GEOMETRIES, photographs, questions, save_model
from train_throughput import machine

from abo_vqa.common.params import read_params
from abo_vqa.common.params.model import PAPER_PROMPT
from abo_vqa.inference.ask import BLANK, blank_image
from abo_vqa.inference.prompt_tree.scorer import Answer, Prompt, Scorer
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import Question, encode_prompts
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator

NEW, PER_IMAGE = 8, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real-data", type=Path)
    parser.add_argument("--images", type=int, default=2, help="images of the stock stack; ours has as many")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="narrow")
    parser.add_argument("--dtype", help="of the computation; default: bfloat16 on a GPU, else float32")
    parser.add_argument("--image-tokens", type=int, default=576)
    args = parser.parse_args()
    rows = questions(args.real_data, args.images, PER_IMAGE)
    images = photographs({row["image_id"] for row in rows}) | {BLANK: blank_image()}
    grid = grid_of(rows)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_model(folder / "model", rows, args.geometry, args.image_tokens)
        params = read_params(Path(__file__).parents[1] / "params.yaml")
        dtype = args.dtype or ("bfloat16" if torch.cuda.is_available() else "float32")
        quantization = params.model.quantization.model_copy(update={"compute_dtype": dtype})
        settings = params.model.model_copy(update={"base": str(folder / "model"), "quantization": quantization})
        model, processor = load_base(settings), load_processor(settings)
        started = time.perf_counter()
        features = ImageFeatures(folder / "features", images, model, processor)
        seeing = time.perf_counter() - started
        collator = ImageCollator(processor, images, features, 8192)
        scorer = Scorer(model, collator, NEW, params.evaluate.tokens_per_pass)
        scorer.ask(BLANK, [Prompt("warm up", ("a",))])
        started = time.perf_counter()
        shared = {image: scorer.ask(image, list(prompts)) for image, prompts in grid.items()}
        ours = time.perf_counter() - started + seeing
        started = time.perf_counter()
        alone = {image: [stock(model, processor, images[image], p) for p in prompts] for image, prompts in grid.items()}
        theirs = time.perf_counter() - started
        ours_tokens, stock_tokens = work(grid, collator)
    each = sum(map(len, grid.values()))
    same, furthest = compare(shared, alone)
    asked = f"{args.images} images, {len(rows)} questions, {each} prompts, {args.image_tokens} image tokens"
    print(f"{machine()}\n\n{asked}\n")
    print("| | s an image | prompts/s | tokens read |\n|---|--:|--:|--:|")
    measured = (("stock", theirs, stock_tokens), ("ours, vision features included", ours, ours_tokens))
    for name, seconds, tokens in measured:
        print(f"| {name} | {seconds / args.images:.1f} | {each / seconds:.2f} | {tokens:,} |")
    print(f"\nvision features: {seeing / len(images):.2f} s an image, with writing them")
    print(f"ratio {theirs / ours:.1f}; by tokens read {stock_tokens / ours_tokens:.1f}")
    print(f"{same} of {each} answers the same token by token; log-probabilities differ by at most {furthest:.1e}")


def grid_of(rows: list[dict[str, Any]]) -> dict[str, dict[Prompt, None]]:
    """Return the distinct prompts by image, those with a blank image under BLANK."""
    grid: dict[str, dict[Prompt, None]] = {}
    for row in rows:
        given = list(row["options"])
        matched = given[::-1]  # four options as well, in another order
        orders = [given[start:] + given[:start] for start in range(4)] + [matched]
        shown = [Prompt(PAPER_PROMPT.text(row["question"], order), tuple(given)) for order in [None, *orders]]
        grid.setdefault(row["image_id"], {}).update(dict.fromkeys(shown))
        grid.setdefault(BLANK, {}).update(dict.fromkeys(shown[:2]))
    return grid


@torch.inference_mode()
def stock(model: Any, processor: Any, image: bytes, prompt: Prompt) -> tuple[list[int], list[float]]:
    """Return the greedy tokens and the options' log-probabilities, a sequence each."""
    tokenizer = processor.tokenizer
    inputs = encode_prompts(processor, [Question("q", image, prompt.text, "")], "left")
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    inputs["pixel_values"] = inputs["pixel_values"].to(model.model.vision_tower.dtype)
    length = inputs["input_ids"].shape[1]
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    said = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, **ends)[0, length:].tolist()
    scores = []
    for option in prompt.options:
        tokens = torch.tensor([[*tokenizer.encode(option, add_special_tokens=False), tokenizer.eos_token_id]])
        ids = torch.cat([inputs["input_ids"], tokens.to(model.device)], 1)
        logits = model(**(inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)})).logits
        ranked = logits[0, length - 1 : -1].float().log_softmax(-1)
        scores.append(float(ranked.gather(1, tokens.T.to(model.device)).sum()))
    return said, scores


def work(grid: dict[str, dict[Prompt, None]], collator: ImageCollator) -> tuple[int, int]:
    """Return how many tokens ours and the stock stack read."""
    ours = theirs = 0
    for image, prompts in grid.items():
        prefix = len(collator.image_prefix(image)[0].prefix)
        ours += prefix
        for prompt in prompts:
            length = len(collator.prompt_tokens(prompt.text))
            options = [len(collator.tokenizer.encode(option, add_special_tokens=False)) for option in prompt.options]
            ours += length + sum(options) + NEW
            theirs += prefix + length + NEW + sum(prefix + length + option + 1 for option in options)
    return ours, theirs


def compare(
    shared: dict[str, list[Answer]], alone: dict[str, list[tuple[list[int], list[float]]]]
) -> tuple[int, float]:
    """Return how many answers are the same, and the largest difference of a log-probability."""
    pairs = [pair for image, answers in shared.items() for pair in zip(answers, alone[image], strict=True)]
    same = sum(list(answer.tokens) == said for answer, (said, _) in pairs)
    gaps = [abs(a - b) for answer, (_, scores) in pairs for a, b in zip(answer.log_probabilities, scores, strict=True)]
    return same, max(gaps)


if __name__ == "__main__":
    main()
