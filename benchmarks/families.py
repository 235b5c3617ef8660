"""What sharing an image gains for each family of models, at the number of image tokens that it really has.

    PYTHONPATH=src python benchmarks/families.py [--images 3] [--side 256] [--families llava,gemma3] [--write]

A training step's forward and backward pass over NF4 with LoRA, five questions an image: a sequence for each question,
by the model's own forward pass, and one for each image with cached features. Models of each family's classes and
published image sizes with narrow towers and random weights; drawn photographs of SIDE x SIDE pixels. Both ways take
turns, and the best of each counts. The ratio of tokens is how many fewer the language model reads; what the cache of
image features saves comes on top. --write: into docs/models.md.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model

from abo_demo.families import FAMILIES, NARROW
from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.draws import derive_rng
from abo_vqa.common.params import read_params
from abo_vqa.common.params.model import PAPER_PROMPT
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.families.lookup import known_types
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.statistics.display import markdown_table
from abo_vqa.training.settings import lora_config
from abo_vqa.training.trainer import answer_logits

PAGE = Path("docs/models.md")
START, END = "<!-- made by benchmarks/families.py -->", "<!-- end -->"
EACH, REPEATS = 5, 3
WORDS = ("table", "mug", "lid", "handles", "wood")


def main() -> None:
    """Measure each family and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument(
        "--side", type=int, default=256, help="pixels of a photograph's side: 256 in ABO's small images"
    )
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    args = parser.parse_args()
    torch.manual_seed(0)
    lines = []
    for name in args.families.split(","):
        lines.append(measure(name, args.images, args.side))
        print(*lines[-1], flush=True)
    heads = ["family", "side", "image tokens", "off by", "a sequence each", "shared, cached", "ratio", "of tokens"]
    command = f"PYTHONPATH=src python benchmarks/families.py --images {args.images} --side {args.side}"
    table = f"{markdown_table(heads, lines)}\n\n(`{command}`, {torch.get_num_threads()} threads; questions a second.)"
    print(table)
    if args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        PAGE.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def measure(name: str, count: int, side: int) -> list[str]:
    """Return a family's line of the table."""
    images = {f"image-{number}": photograph(number, side) for number in range(count)}
    examples = [
        {"qa_id": f"{image}-{word}", "image": image, "answer": "red", "text": text(word)}
        for image in images
        for word in WORDS
    ]
    with tempfile.TemporaryDirectory() as folder:
        FAMILIES[name](Path(folder), NARROW)
        params = read_params()
        params = params.model_copy(update={"model": params.model.model_copy(update={"base": folder})})
        base, processor = load_base(params.model), load_processor(params.model)
        lora = params.train.lora.model_copy(update={"dropout": 0.0})
        model: Any = get_peft_model(base, lora_config(lora, base)).train()
        single = QuestionCollator(processor, images, 16384)
        tokens = int((single(examples[:1])["input_ids"] == processor.family.image_token).sum())
        if not known_types()[name].shares_image:
            [(each, _, _)] = timed(model, examples, [single])
            return [name, f"{side:,}", f"{tokens:,}", "not shared", f"{each:.2f}", "-", "-", "-"]
        features = ImageFeatures(Path(folder, "features"), images, model, processor)
        packed = ImageCollator(processor, images, features, 16384)
        (each, read, apart), (together, fewer, shared) = timed(model, examples, [single, packed])
    off = float((shared - apart).abs().max())
    ratio = f"{together / each:.1f}", f"{read / fewer:.1f}"
    return [name, f"{side:,}", f"{tokens:,}", f"{off:.0e}", f"{each:.2f}", f"{together:.2f}", *ratio]


def timed(model: Any, examples: list[dict[str, str]], collators: list[Any]) -> list[tuple[float, int, torch.Tensor]]:
    """Return questions a second, the tokens read, and the answers' log-probabilities for each collator."""
    found: dict[int, tuple[int, torch.Tensor]] = {}
    best = [float("inf")] * len(collators)
    for _ in range(REPEATS):
        for way, collate in enumerate(collators):
            started, said, read = time.perf_counter(), [], 0
            for place in range(0, len(examples), EACH):
                batch = collate(examples[place : place + EACH])
                logits, targets = answer_logits(model, batch)
                said.append(logits.float().log_softmax(-1).gather(1, targets[:, None]))
                (-said[-1].mean()).backward()
                read += batch["input_ids"].numel()
            best[way] = min(best[way], time.perf_counter() - started)
            found[way] = read, torch.cat([each.detach().flatten() for each in said])
            model.zero_grad()
    return [(len(examples) / best[way], *found[way]) for way in range(len(collators))]


def text(word: str) -> str:
    """Return a prompt with options."""
    return PAPER_PROMPT.text(f"What color is the {word} on the table?", ["red", "blue", "green", "wood"])


def photograph(number: int, side: int) -> bytes:
    """Return a drawn product."""
    rng = derive_rng(7, number)
    with io.BytesIO() as file:
        draw_scene(sample_scene(rng), rng, (side, side)).save(file, "JPEG")
        return file.getvalue()


if __name__ == "__main__":
    main()
