"""Training runs that never ran: what the stages before `register` leave of them, made up, in the working directory."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from abo_vqa.common.storage import write_json

CONDITIONS = ("open", "options")
ARMS = ("standard", "options")
VALIDATION = {"standard": (0.6, 0.6, 0.5), "options": (0.70, 0.75, 0.72)}
HELPS = {"standard": "not shown", "options": "yes"}


def answered(share: float, seed: int = 0, prefix: str = "q") -> pd.DataFrame:
    """Predictions on 300 questions, five about an image, of which a share is right."""
    right = np.random.default_rng(seed).random(300) < share
    tables = [
        pd.DataFrame(
            {
                "qa_id": [f"{prefix}{number}" for number in range(300)],
                "image_id": [f"i{number // 5}" for number in range(300)],
                "image_group": [f"g{number // 5}" for number in range(300)],
                "condition": condition,
                "correct": right,
                "prediction": "red",
            }
        )
        for condition in CONDITIONS
    ]
    return pd.concat(tables, ignore_index=True)


def write_predictions(model: str, table: pd.DataFrame) -> None:
    path = Path("tables/predictions", f"{model}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)


def write_outcome(run: str, validation: float | None) -> None:
    write_json(Path("reports/training", f"{run}.json"), {"validation_accuracy": validation})


def write_adapter(run: str, weights: str) -> None:
    folder = Path("models/adapters", run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text(weights)


def write_results(shares: Mapping[str, float], seeds: Sequence[int] = (1, 2, 3), adapters: bool = True) -> None:
    """Write training runs of each arm, which are right in about that share of the questions."""
    write_predictions("base", answered(shares["base"]))
    for place, arm in enumerate(ARMS):
        for seed in seeds:
            run = f"{arm}-{seed}"
            write_predictions(run, answered(shares[arm], 10 * place + seed))
            write_outcome(run, VALIDATION[arm][seed - 1])
            if adapters:
                write_adapter(run, run)


def part(first: str, condition: str, answer: str, second: str = "base") -> dict[str, Any]:
    reasons = [{"code": "no_counterpart"}] if answer == "unsaid" else []
    return {
        "first": first,
        "second": second,
        "condition": condition,
        "answer": answer,
        "reasons": reasons,
        "planned": True,
    }


def comparison(answers: Mapping[str, str] = HELPS, **changed: str) -> dict[str, Any]:
    """The comparison of the predictions there are; answers: on each arm's gain over base; changed: by condition."""
    models = sorted(path.stem for path in Path("tables/predictions").glob("*.parquet"))
    runs = {"base": ["base"]} | {arm: [name for name in models if name.startswith(f"{arm}-")] for arm in ARMS}
    tables = {name: pd.read_parquet(f"tables/predictions/{name}.parquet") for name in models}
    by_run = {name: table.groupby("condition")["correct"].mean().to_dict() for name, table in tables.items()}
    training = [part(arm, name, changed.get(name, answers[arm])) for arm in ARMS for name in CONDITIONS]
    others = [part(arm, name, "no") | {"planned": False} for arm in ARMS for name in CONDITIONS]
    between = [part("options", name, "no", "standard") for name in CONDITIONS]
    found = {
        "models": ["base", *ARMS],
        "runs": runs,
        "by_run": by_run,
        "questions": 300,
        "images": 60,
        "verdict": {
            "questions": [
                {"code": "options_shown", "answer": "no", "parts": between},
                {"code": "training", "answer": "", "parts": training + between},
                {"code": "ranked", "answer": "no", "parts": others},
            ],
            "limits": [],
        },
    }
    # As the stage reads it.
    return dict(json.loads(json.dumps(found)))


def reason_text(part: Mapping[str, Any]) -> str:
    """Stand for the words of the room `comparison`."""
    return f"because of {part['reasons'][0]['code']}"


def use_these_words(patch: pytest.MonkeyPatch) -> None:
    """Let `reason_text` stand for the one of the room `comparison`, so that tests do not depend on its wording."""
    words = ModuleType("abo_vqa.comparison.words")
    vars(words)["reason_text"] = reason_text
    patch.setitem(sys.modules, words.__name__, words)
