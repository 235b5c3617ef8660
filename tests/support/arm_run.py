"""One small training run as a process of its own: killed at random, or several at once.

Run it as `python arm_run.py FOLDER PARAMS.json`; it writes FOLDER/adapter and FOLDER/curve.json.
"""

import json
import sys
from pathlib import Path

import torch

from abo_vqa.common.layout import PRE_CLIP
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.model.adapters import save_adapter
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.history import Row
from abo_vqa.training.plan import training_questions
from abo_vqa.training.trainer import train_arm
from drawn import draw_images, draw_rows

MIXED = ArmParams(options_first=0.5, options_last=0.5)


def run_arm(folder: Path, params: Params, stop_in_step: int | None = None) -> None:
    """Train in `folder`, validated unless train.validation_questions is 0; KeyboardInterrupt in the given step."""
    torch.set_num_threads(1)
    images = draw_images()
    rows = draw_rows(images)
    collator = ImageCollator(load_processor(params.model), images, None, 4096)
    dataset = training_questions(rows, MIXED, params.train.epochs, 3, by_image=True)
    asked = [dataset[place] for place in range(6)]
    torch.manual_seed(1)
    scratch = folder / "checkpoints"
    validation = [collator(asked)] if params.train.validation_questions else []
    with (folder / "rows.txt").open("w", buffering=1) as rows:  # whoever watches sees every step as it is done

        def note(row: Row) -> None:
            if PRE_CLIP in row:
                rows.write(f"{row['step']}\n")
                if row["step"] == stop_in_step:
                    raise KeyboardInterrupt

        result = train_arm(load_base(params.model), collator, dataset, validation, params.train, 3, scratch, note)
    save_adapter(result.model, folder / "adapter", "base", "card", result.weights)
    (folder / "curve.json").write_text(json.dumps(result.curve))


if __name__ == "__main__":
    run_arm(Path(sys.argv[1]), Params.model_validate_json(Path(sys.argv[2]).read_text(), by_alias=True))
