"""Stage evaluate: one model answers the test questions under every condition."""

import argparse
from typing import Any

from abo_vqa.common.layout import (
    ADAPTERS,
    PREDICTIONS,
    RUNS,
    feature_folder,
    read_image_bytes,
    read_questions,
    split_table,
)
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import replacing, write_json
from abo_vqa.inference.conditions import Distractors, ask_under

# Of each condition, what the arm's own run shows too.
COMPARED = ("accuracy", "ranked", "macro_f1", "token_f1", "bertscore_f1", "unparsable", "ece")


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
    from abo_vqa.common.tracking.run import tracked_run
    from abo_vqa.inference.ask import BLANK, ask_all, blank_image
    from abo_vqa.inference.prompt_tree import Scorer
    from abo_vqa.metrics.answers import flatten, summarise
    from abo_vqa.metrics.bertscore import BertScorer
    from abo_vqa.model.adapters import load_tuned
    from abo_vqa.model.base.loading import load_base, load_processor
    from abo_vqa.model.features import ImageFeatures
    from abo_vqa.model.shared_image import ImageCollator

    settings = params.evaluate
    rows = read_questions("test")
    distractors = Distractors(read_questions("train"))
    asked = {
        condition: ask_under(rows, condition, shown, distractors, params.seed)
        for condition, shown in settings.conditions.items()
    }
    images = read_image_bytes(row["image_id"] for row in rows) | {BLANK: blank_image()}
    tags = {"model": name, "conditions": ", ".join(asked)} | ({} if name == BASE else {"arm": name})
    with tracked_run(f"evaluate {name}", params, tags) as run:
        run.log_dataset(split_table("test"), "evaluation", len(rows))
        processor = load_processor(params.model)
        model: Any = load_base(params.model)
        context = model.config.get_text_config().max_position_embeddings
        # An adapted vision tower sees with other eyes than the base's.
        frozen = name == BASE or not params.train.lora.vision_tower
        features = ImageFeatures(feature_folder(), images, model, processor) if frozen else None
        collator = ImageCollator(processor, images, features, context)
        if name != BASE:
            model = load_tuned(model, ADAPTERS / name)
        scorer = BertScorer(settings.bertscore_model, settings.bertscore_layers)
        answers = Scorer(model, collator, settings.max_new_tokens, settings.tokens_per_pass)
        predictions = ask_all(answers, rows, asked, scorer, name)
        path = PREDICTIONS / f"{name}.parquet"
        with replacing(path) as temporary:
            predictions.to_parquet(temporary, index=False)
        found = flatten(summary := summarise(predictions))
        run.log_metrics(found)
        # Beside the arm's curves too: in the MLflow UI two arms then compare as a whole.
        totals = {f"{condition}/{name}": found[f"{condition}/{name}"] for condition in summary for name in COMPARED}
        run.log_metrics_to(RUNS / f"train-{name}.json", totals)
        run.log_artifact(path)
        write_json(RUNS / f"evaluate-{name}.json", {"run_id": run.id})


if __name__ == "__main__":
    run_stage("evaluate", main)
