"""Stage evaluate: one model answers the test questions under every condition."""

import argparse
from typing import Any

from abo_vqa.catalog.tables import replacing, write_json
from abo_vqa.params import Params, read_params
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import ADAPTERS, PREDICTIONS, RUNS, read_image_bytes, read_questions

BASE = "base"


def main() -> None:
    """Evaluate the base model or one arm's adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="base, or an arm of params.yaml")
    name = parser.parse_args().model
    params = read_params()
    if name != BASE:
        params.arm(name)
    evaluate(name, params)


def evaluate(name: str, params: Params) -> None:
    """Ask the model every test question under every condition; write and log predictions and metrics."""
    import pandas as pd

    from abo_vqa.measure.bertscore import BertScorer
    from abo_vqa.measure.metrics import flatten, score_answers, summarise
    from abo_vqa.model.loading import load_base, load_processor, load_tuned
    from abo_vqa.tracking import tracked_run

    settings = params.evaluate
    rows = read_questions("test")
    images = read_image_bytes(row["image_id"] for row in rows)
    with tracked_run(f"evaluate {name}", params, {"model": name}) as run:
        processor = load_processor(params.model)
        model: Any = load_base(params.model)
        if name != BASE:
            model = load_tuned(model, ADAPTERS / name)
        scorer = BertScorer(settings.bertscore_model, settings.bertscore_layers)
        parts = []
        for condition in settings.conditions:
            generated = _ask(model, processor, rows, images, condition, name, params)
            parts.append(score_answers(rows, generated, condition, scorer))
        predictions = pd.concat(parts, ignore_index=True)
        path = PREDICTIONS / f"{name}.parquet"
        with replacing(path) as temporary:
            predictions.to_parquet(temporary, index=False)
        run.log_metrics(flatten(summarise(predictions)))
        run.log_artifact(path)
        write_json(RUNS / f"evaluate-{name}.json", {"run_id": run.id})


def _ask(
    model: Any,
    processor: Any,
    rows: list[dict[str, Any]],
    images: dict[str, bytes],
    condition: str,
    name: str,
    params: Params,
) -> list[str]:
    """Return the model's answer to every row under one condition."""
    from abo_vqa.model.answering import answer_questions
    from abo_vqa.model.batches import Question
    from abo_vqa.model.prompts import question_text

    questions = [
        Question(
            row["qa_id"],
            images[row["image_id"]],
            question_text(row["question"], list(row["options"]) if condition == "options" else None),
            row["answer"],
        )
        for row in rows
    ]
    settings = params.evaluate
    label = f"{name}, {condition}"
    return answer_questions(model, processor, questions, settings.batch_size, settings.max_new_tokens, label)


if __name__ == "__main__":
    run_stage("evaluate", main)
