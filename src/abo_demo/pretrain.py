"""Pre-train the demo's base model on generic drawn scenes: `python -m abo_demo.pretrain`.

First the vision tower learns to classify, as CLIP's was pre-trained before LLaVA; then the whole model learns to
answer; then the language model alone learns words of its own, so that fine-tuning has words to teach. It never sees an
image of the demo catalog or the experiment's prompts. All questions of an image share its prefix
(abo_vqa.model.shared_image), which makes two CPU cores enough.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GemmaTokenizer, LlavaForConditionalGeneration, get_cosine_schedule_with_warmup

from abo_demo.base_model import IMAGE_SIZE, build_model, build_processor, train_tokenizer
from abo_demo.card import model_card
from abo_demo.dialect import Telling, in_own_words, retell
from abo_demo.dialogue import ask, converse
from abo_demo.scene import Scene, draw_scene, sample_scene
from abo_demo.teaching import Teacher, answer_loss, score
from abo_demo.vocabulary import COLORS, MATERIALS, PRODUCT_TYPES, SHAPES
from abo_vqa.common.draws import derive_rng, derive_seed
from abo_vqa.model.collators import IGNORED


@dataclass(frozen=True)
class Phase:
    """One phase of training the model to answer.

    own_words: whether it is taught words of its own (abo_demo.dialect), by its language model alone.
    """

    name: str
    steps: int
    learning_rate: float
    warmup: int = 150
    comparisons: bool = True
    own_words: bool = False


PHASES = (
    # A model this small learns to compare heights and numbers only after it can recognize and count.
    Phase("seeing", steps=1900, learning_rate=1.2e-3, comparisons=False),
    Phase("comparing", steps=700, learning_rate=8e-4),
    Phase("naming", steps=300, learning_rate=5e-4, warmup=25, own_words=True),
)
VISION_STEPS, VISION_RATE = 1500, 1.2e-3
HELD_OUT = 384  # scenes held out for the scores on the model card
QUESTIONS = 6  # per scene and visit


def draw_generic(seed: int, number: int) -> tuple[Scene, np.ndarray]:
    """Draw generic scene `number`, all product types equally likely; pixels: uint8 of shape (112, 112, 3)."""
    rng = derive_rng(seed, "scene", number)
    scene = sample_scene(rng, rng.choice(PRODUCT_TYPES))
    canvas = rng.choice(((160, 160), (200, 160), (160, 200)))
    image = draw_scene(scene, rng, canvas).resize((IMAGE_SIZE, IMAGE_SIZE), 3)
    return scene, np.asarray(image)


def draw_scenes(seed: int, count: int) -> tuple[list[Scene], torch.Tensor]:
    """Draw `count` scenes on all cores; pixels: uint8 of shape (count, 3, 112, 112)."""
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(partial(draw_generic, seed), range(count), chunksize=64)
        scenes, pixels = zip(*tqdm(drawn, total=count, desc="drawing scenes"), strict=True)
    return list(scenes), torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def tokenizer_corpus(seed: int) -> list[str]:
    """Return the tokenizer's training texts: generic questions, and every word of the vocabulary many times."""
    rng = derive_rng(seed, "tokenizer")
    texts = []
    for _ in range(4000):
        for exchange in converse(sample_scene(rng, rng.choice(PRODUCT_TYPES)), rng, comparisons=False):
            texts += [ask(exchange, rng, True), ask(exchange, rng, False)]
    words = [*COLORS, *MATERIALS, *(p.noun for p in PRODUCT_TYPES), *(p.plural for p in PRODUCT_TYPES)]
    # An answer starts its line without the leading space that it has among the options: train on both.
    return texts + [form.format(word) for word in words for form in ("{}", " {}") for _ in range(200)]


def attributes(scene: Scene) -> dict[str, int]:
    """Return the visible attributes of a scene as class indices; -100 if not applicable."""
    return {
        "color": list(COLORS).index(scene.color),
        "material": MATERIALS.index(scene.material),
        "shape": SHAPES.index(scene.shape),
        "noun": PRODUCT_TYPES.index(scene.product),
        "count": scene.count,
        "parts": IGNORED if scene.parts is None else scene.parts,
    }


def train_vision(
    model: Any, teacher: Teacher, data: tuple[list[Scene], torch.Tensor], args: argparse.Namespace
) -> None:
    """Train the vision tower to classify colors, materials, shapes, products and counts by temporary linear heads.

    Trained from scratch, a model this small takes long to use the image at all; a pre-trained tower avoids that.
    """
    scenes, pixels = data
    targets = {name: torch.tensor([attributes(s)[name] for s in scenes]) for name in attributes(scenes[0])}
    width = model.config.vision_config.hidden_size
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, int(t.max()) + 1) for name, t in targets.items()})
    tower = model.model.vision_tower
    weights = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=VISION_RATE, weight_decay=0.02, betas=(0.9, 0.98), fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 150, VISION_STEPS)

    def classify(chosen: Any, flip: bool) -> dict[str, torch.Tensor]:
        shown = teacher.normalize(pixels[chosen])
        states = tower(shown.flip(-1) if flip else shown, output_hidden_states=True).hidden_states
        seen = states[model.config.vision_feature_layer][:, 1:].mean(1)
        return {name: head(seen) for name, head in heads.items()}

    rng = derive_rng(args.seed, "vision")
    for step in (bar := tqdm(range(1, VISION_STEPS + 1), desc="vision tower", mininterval=5)):
        chosen = [rng.randrange(HELD_OUT, len(scenes)) for _ in range(2 * args.batch_size)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = classify(chosen, rng.random() < 0.5)
        losses = [cross_entropy(logits[name].float(), targets[name][chosen]) for name in targets]
        torch.stack([loss for loss in losses if loss.isfinite()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == VISION_STEPS:
            with torch.no_grad():
                guesses = {name: logit.argmax(-1) for name, logit in classify(slice(HELD_OUT), False).items()}
            known = {name: targets[name][:HELD_OUT] for name in targets}
            right = {n: (guesses[n] == known[n])[known[n] >= 0].float().mean().item() for n in known}
            bar.set_postfix({name: f"{share:.2f}" for name, share in right.items()})


def train(
    model: Any,
    teacher: Teacher,
    data: tuple[list[Scene], torch.Tensor],
    phase: Phase,
    args: argparse.Namespace,
    before: dict[str, Any] | None,
) -> dict[str, Any]:
    """Train the weights for one phase with AdamW, warm-up and cosine decay; save and score every `args.save` steps.

    before: the record of the phase before it. Returns the record of this one.
    """
    scenes, pixels = data
    held_scenes, held_pixels = scenes[:HELD_OUT], pixels[:HELD_OUT]
    rng = derive_rng(args.seed, phase.name)
    # New words are for what it sees already.
    for part in (model.model.vision_tower, model.model.multi_modal_projector):
        part.requires_grad_(not phase.own_words)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=phase.learning_rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, phase.warmup, phase.steps)
    tell = retell if phase.own_words else None
    started, losses = time.time(), []
    for step in (bar := tqdm(range(1, phase.steps + 1), desc=phase.name, mininterval=5)):
        chosen = [rng.randrange(HELD_OUT, len(scenes)) for _ in range(args.batch_size)]
        inputs, _ = teacher.batch(
            [scenes[i] for i in chosen], pixels[chosen], rng, 0.5, QUESTIONS, phase.comparisons, tell
        )
        if rng.random() < 0.5:
            inputs["pixel_values"] = inputs["pixel_values"].flip(-1)
        # bfloat16 products are a quarter faster on CPUs; weights, gradients and the optimizer stay float32.
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = answer_loss(model, inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 50 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
        if step % args.save == 0 or step == phase.steps:
            asked: dict[str, tuple[float, Telling | None]] = {"options": (1.0, None), "open": (0.0, None)}
            if phase.own_words:
                asked |= {"options, own words": (1.0, in_own_words), "open, own words": (0.0, in_own_words)}
            scores = {
                name: score(model, teacher, held_scenes, held_pixels, args.seed, *how) for name, how in asked.items()
            }
            record = {
                "command": " ".join(["python -m abo_demo.pretrain", *sys.argv[1:]]),
                "seed": args.seed,
                "scenes": args.scenes,
                "phase": phase.name,
                "step": step,
                "minutes": round((time.time() - started) / 60, 1),
                "parameters": sum(p.numel() for p in model.parameters()),
                "held_out": HELD_OUT,
                "scores": scores,
            }
            if before:
                record["before"] = before
            save(model, teacher.processor, args.out / f"{phase.name}-{step}", record)
            tqdm.write(json.dumps(record))
    return record


def save(model: Any, processor: Any, folder: Path, record: dict[str, Any]) -> None:
    """Write model, processor and scores as a folder for `from_pretrained`."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(model_card(record))


def main() -> None:
    """Draw the scenes, build tokenizer and model, train, and save a folder every `--save` steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/pretraining"), help="folder for the saved steps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=14000, help="generic scenes to draw")
    parser.add_argument("--start", type=Path, help="saved folder of a phase; run only the phases after it")
    parser.add_argument("--save", type=int, default=400, help="steps between saved folders")
    parser.add_argument("--batch-size", type=int, default=24, help="images per step, six questions each")
    args = parser.parse_args()

    torch.manual_seed(derive_seed(args.seed, "weights"))
    record = None
    if args.start:
        record = json.loads((args.start / "pretraining.json").read_text())
        processor = build_processor(GemmaTokenizer.from_pretrained(args.start))
        model: Any = LlavaForConditionalGeneration.from_pretrained(args.start)
    else:
        processor = build_processor(train_tokenizer(tokenizer_corpus(args.seed)))
        model = build_model(processor.tokenizer)
    teacher = Teacher(processor)
    data = draw_scenes(args.seed, args.scenes)
    if record is None:
        train_vision(model, teacher, data, args)
    names = [phase.name for phase in PHASES]
    for phase in PHASES[names.index(record["phase"]) + 1 if record else 0 :]:
        record = train(model.train(), teacher, data, phase, args, record)


if __name__ == "__main__":
    main()
