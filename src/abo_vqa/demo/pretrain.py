"""Pre-train the demo's base model on generic drawn scenes: `python -m abo_vqa.demo.pretrain`.

First the vision tower learns to name what it sees, as CLIP's did before it became LLaVA's; then the whole model learns
to answer. It never sees an image of the demo catalogue, nor the experiment's prompts. All questions of an image share
its prefix (abo_vqa.model.shared_image), which is what makes two CPU cores enough.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from abo_vqa.demo.base_model import IMAGE_SIZE, PATCH_SIZE, build_model, build_processor, train_tokenizer
from abo_vqa.demo.card import model_card
from abo_vqa.demo.dialogue import ask, converse
from abo_vqa.demo.scene import Scene, draw_scene, sample_scene
from abo_vqa.demo.vocabulary import COLORS, MATERIALS, PRODUCT_TYPES, SHAPES
from abo_vqa.model.batches import IGNORED
from abo_vqa.model.prompts import render_prompt
from abo_vqa.model.shared_image import Segment, shared_image_batch
from abo_vqa.seeds import derive_rng, derive_seed

HELD_OUT = 384  # scenes kept for the scores on the model card
QUESTIONS = 6  # a scene at each visit


def draw_generic(seed: int, number: int) -> tuple[Scene, np.ndarray]:
    """Draw generic scene `number`: any product type equally often; pixels uint8 of shape (112, 112, 3)."""
    rng = derive_rng(seed, "scene", number)
    scene = sample_scene(rng, rng.choice(PRODUCT_TYPES))
    canvas = rng.choice(((160, 160), (200, 160), (160, 200)))
    image = draw_scene(scene, rng, canvas).resize((IMAGE_SIZE, IMAGE_SIZE), 3)
    return scene, np.asarray(image)


def draw_scenes(seed: int, count: int) -> tuple[list[Scene], torch.Tensor]:
    """Draw `count` scenes on all cores; pixels uint8 of shape (count, 3, 112, 112)."""
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(partial(draw_generic, seed), range(count), chunksize=64)
        scenes, pixels = zip(*tqdm(drawn, total=count, desc="drawing scenes"), strict=True)
    return list(scenes), torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def tokenizer_corpus(seed: int) -> list[str]:
    """Return the text the tokenizer is trained on: generic questions and every word of the vocabulary, often."""
    rng = derive_rng(seed, "tokenizer")
    texts = []
    for _ in range(4000):
        for exchange in converse(sample_scene(rng, rng.choice(PRODUCT_TYPES)), rng):
            texts += [ask(exchange, rng, True), ask(exchange, rng, False)]
    words = [*COLORS, *MATERIALS, *(p.noun for p in PRODUCT_TYPES), *(p.plural for p in PRODUCT_TYPES)]
    # An answer stands at the start of its line, without the blank in front that it has among the options.
    return texts + [form.format(word) for word in words for form in ("{}", " {}") for _ in range(200)]


class Teacher:
    """Turns scenes into training batches for one tokenizer and image normalisation."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        marker = "\0"
        before, after = render_prompt(processor, marker).split(marker)
        tokens = self.tokenizer.encode(before, add_special_tokens=False)
        place = tokens.index(processor.image_token_id)
        image = [processor.image_token_id] * (IMAGE_SIZE // PATCH_SIZE) ** 2
        # The prefix ends at the image; the line break behind it belongs to every question.
        self.prefix = tokens[:place] + image
        self.lead = before.split(processor.image_token)[1]
        self.after = after
        normal = processor.image_processor
        self.mean = torch.tensor(normal.image_mean)[:, None, None]
        self.std = torch.tensor(normal.image_std)[:, None, None]

    def batch(
        self,
        scenes: list[Scene],
        pixels: torch.Tensor,
        rng: random.Random,
        options: float,
        questions: int = QUESTIONS,
    ) -> tuple[dict[str, torch.Tensor], list[list[str]]]:
        """Return model inputs for these scenes, and the kind of every question asked; `options` is their share."""
        images, kinds = [], []
        for scene in scenes:
            exchanges = converse(scene, rng)[:questions]
            kinds.append([exchange.kind for exchange in exchanges])
            images.append([self._segment(ask(e, rng, rng.random() < options), e.answer) for e in exchanges])
        inputs = shared_image_batch(self.prefix, images, self.tokenizer.pad_token_id)
        inputs["pixel_values"] = self.normalise(pixels)
        return inputs, kinds

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixel values as the image processor makes them, from bytes of shape (images, 3, 112, 112)."""
        return (pixels.float() / 255 - self.mean) / self.std

    def _segment(self, text: str, answer: str) -> Segment:
        def encode(piece: str) -> list[int]:
            return self.tokenizer.encode(piece, add_special_tokens=False)

        return Segment(encode(self.lead + text + self.after), [*encode(answer), self.tokenizer.eos_token_id])


def answer_loss(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss over the answer tokens and, of shape (images, length), where the prediction is right."""
    labels = inputs["labels"][:, 1:]
    asked = labels.ge(0).any(0).nonzero()[:, 0]
    logits = model(**{k: v for k, v in inputs.items() if k != "labels"}, logits_to_keep=asked).logits
    targets = labels[:, asked]
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    right = torch.ones_like(labels, dtype=torch.bool)
    right[:, asked] = (logits.argmax(-1) == targets) | (targets < 0)
    return loss, right


@torch.no_grad()
def score(
    model: torch.nn.Module,
    teacher: Teacher,
    scenes: list[Scene],
    pixels: torch.Tensor,
    seed: int,
    options: float,
) -> dict[str, float]:
    """Return the share of questions answered with exactly the right tokens, by kind and in all."""
    model.eval()
    rng = derive_rng(seed, "score")
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(scenes), 64):
        part = slice(start, start + 64)
        inputs, kinds = teacher.batch(scenes[part], pixels[part], rng, options, questions=9)
        _, right = answer_loss(model, inputs)
        for row, names in enumerate(kinds):
            for name, ok in zip(names, _by_answer(inputs["labels"][row], right[row]), strict=True):
                hits[name].append(ok)
    model.train()
    everything = [ok for values in hits.values() for ok in values]
    return {name: round(sum(v) / len(v), 3) for name, v in sorted(hits.items())} | {
        "all": round(sum(everything) / len(everything), 3)
    }


def _by_answer(labels: torch.Tensor, right: torch.Tensor) -> list[bool]:
    """Split one sequence's answer tokens into its answers; an answer counts when all its tokens are right."""
    answers: list[bool] = []
    inside = False
    for label, ok in zip(labels[1:].tolist(), right.tolist(), strict=True):
        if label < 0:
            inside = False
        elif inside:
            answers[-1] = answers[-1] and ok
        else:
            answers.append(ok)
            inside = True
    return answers


def attributes(scene: Scene) -> dict[str, int]:
    """Return what there is to see in a scene, as class indices; -100 where it does not apply."""
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
    """Teach the vision tower to tell colors, materials, shapes, products and counts, by linear heads used here alone.

    From scratch a model this small finds out late that the image says anything at all; a tower that can see saves that.
    """
    scenes, pixels = data
    targets = {name: torch.tensor([attributes(s)[name] for s in scenes]) for name in attributes(scenes[0])}
    width = model.config.vision_config.hidden_size
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, int(t.max()) + 1) for name, t in targets.items()})
    tower = model.model.vision_tower
    weights = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=args.learning_rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 150, args.vision_steps)

    def classify(chosen: Any, flip: bool) -> dict[str, torch.Tensor]:
        shown = teacher.normalise(pixels[chosen])
        states = tower(shown.flip(-1) if flip else shown, output_hidden_states=True).hidden_states
        seen = states[model.config.vision_feature_layer][:, 1:].mean(1)
        return {name: head(seen) for name, head in heads.items()}

    rng = derive_rng(args.seed, "vision")
    for step in (bar := tqdm(range(1, args.vision_steps + 1), desc="vision tower", mininterval=5)):
        chosen = [rng.randrange(HELD_OUT, len(scenes)) for _ in range(2 * args.batch_size)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = classify(chosen, rng.random() < 0.5)
        losses = [cross_entropy(logits[name].float(), targets[name][chosen]) for name in targets]
        torch.stack([loss for loss in losses if loss.isfinite()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == args.vision_steps:
            with torch.no_grad():
                guesses = {name: logit.argmax(-1) for name, logit in classify(slice(HELD_OUT), False).items()}
            known = {name: targets[name][:HELD_OUT] for name in targets}
            right = {n: (guesses[n] == known[n])[known[n] >= 0].float().mean().item() for n in known}
            bar.set_postfix({name: f"{share:.2f}" for name, share in right.items()})


def train(
    model: torch.nn.Module, teacher: Teacher, data: tuple[list[Scene], torch.Tensor], args: argparse.Namespace
) -> None:
    """Train all weights for `args.steps` steps with AdamW, warm-up and cosine decay; saves every `args.save` steps."""
    scenes, pixels = data
    held_scenes, held_pixels = scenes[:HELD_OUT], pixels[:HELD_OUT]
    rng = derive_rng(args.seed, "batches")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, 150, args.steps)
    started, losses = time.time(), []
    for step in (bar := tqdm(range(1, args.steps + 1), desc="pre-training", mininterval=5)):
        chosen = [rng.randrange(HELD_OUT, len(scenes)) for _ in range(args.batch_size)]
        inputs, _ = teacher.batch([scenes[i] for i in chosen], pixels[chosen], rng, options=0.5)
        if rng.random() < 0.5:
            inputs["pixel_values"] = inputs["pixel_values"].flip(-1)
        # bfloat16 products are a quarter faster here; weights, gradients and the optimizer stay float32.
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = answer_loss(model, inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 50 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
        if step % args.save == 0 or step == args.steps:
            scores = {
                name: score(model, teacher, held_scenes, held_pixels, args.seed, share)
                for name, share in (("options", 1.0), ("open", 0.0))
            }
            record = {
                "command": "python -m abo_vqa.demo.pretrain",
                "seed": args.seed,
                "scenes": args.scenes,
                "vision_steps": args.vision_steps,
                "step": step,
                "minutes": round((time.time() - started) / 60, 1),
                "parameters": sum(p.numel() for p in model.parameters()),
                "held_out": HELD_OUT,
                "scores": scores,
            }
            save(model, teacher.processor, args.out / f"step-{step}", record)
            tqdm.write(json.dumps(record))


def save(model: Any, processor: Any, folder: Path, record: dict[str, Any]) -> None:
    """Write model, processor and scores as a folder that `from_pretrained` opens."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(model_card(record))


def main() -> None:
    """Draw the scenes, build tokenizer and model, train, and save a folder every so many steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/pretraining"), help="folder for the saved steps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=14000, help="generic scenes to draw")
    parser.add_argument("--steps", type=int, default=1900, help="steps of the whole model")
    parser.add_argument("--vision-steps", type=int, default=1500, help="steps of the vision tower alone")
    parser.add_argument("--save", type=int, default=380, help="steps between saved folders")
    parser.add_argument("--batch-size", type=int, default=24, help="images a step, six questions each")
    parser.add_argument("--learning-rate", type=float, default=1.2e-3)
    args = parser.parse_args()

    torch.manual_seed(derive_seed(args.seed, "weights"))
    processor = build_processor(train_tokenizer(tokenizer_corpus(args.seed)))
    model = build_model(processor.tokenizer)
    teacher = Teacher(processor)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    data = draw_scenes(args.seed, args.scenes)
    train_vision(model, teacher, data, args)
    train(model, teacher, data, args)


if __name__ == "__main__":
    main()
