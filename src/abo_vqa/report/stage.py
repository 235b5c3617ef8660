"""Stage report: write reports/report.html, comparison.md and the figures."""

import abo_vqa.common.processor  # noqa: F401

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from abo_vqa.common.layout import (
    COMPARISON,
    CURVES,
    SCORES,
    TRAINING,
    predictions_table,
    read_image_bytes,
    read_questions,
)
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import read_table, replacing, require

if TYPE_CHECKING:
    from abo_vqa.report.html import Provenance

REPORT = Path("reports/report.html")
TABLE = Path("reports/comparison.md")
VALIDATION, SPLIT = Path("reports/validation.json"), Path("reports/split.json")
PLOTS = Path("reports/plots")
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "bert-score", "mlflow", "dvc", "great-expectations")


def main() -> None:
    """Draw the figures, write reports/report.html and reports/comparison.md, and log them to the execution's run."""
    params = read_params()
    # Imported here: a wrong parameter is reported before seconds of importing.
    import pandas as pd

    from abo_vqa.common.tracking.run import pipeline_run
    from abo_vqa.report.explain import explain
    from abo_vqa.report.html import pick_gallery, render_report
    from abo_vqa.report.plots import FIGURES, Figures
    from abo_vqa.report.tables import render, summary

    comparison = json.loads(require(COMPARISON, "compare").read_text(encoding="utf-8"))
    scores = json.loads(require(SCORES, "score").read_text(encoding="utf-8"))
    runs: dict[str, list[str]] = {name: comparison["runs"][name] for name in comparison["models"]}
    predictions = {
        name: [pd.DataFrame(read_table(predictions_table(run), "score")) for run in of] for name, of in runs.items()
    }
    trained = [run for name, of in runs.items() if name in params.arms for run in of]
    training = {run: json.loads(require(TRAINING / f"{run}.json", "train").read_text()) for run in trained}
    # Figures that need one model's answers show each arm's first training run.
    first = {of[0]: tables[0] for of, tables in zip(runs.values(), predictions.values(), strict=True)}
    planned = {name for one in params.compare.planned for name in one.conditions}
    judged = [name for name in comparison["conditions"] if name in planned] or comparison["conditions"]
    plain = [name for name in judged if params.conditions()[name] == ConditionParams()]
    drawn = Figures(
        comparison=comparison,
        scores={name: scores[name] for name in first},
        predictions=first,
        curves={
            arm: [pd.read_csv(require(CURVES / f"{run}.csv", "train")) for run in runs[arm]]
            for arm in runs
            if arm in params.arms
        },
        clip=params.train.max_grad_norm,
        judged=judged,
        shown=(plain or judged)[0],
    )
    for name, draw in FIGURES.items():
        draw(drawn, PLOTS / f"{name}.svg")
    questions = read_questions("test")
    images = read_image_bytes(row["image_id"] for row in questions)
    seed = params.seed_of("report", "gallery")
    gallery = pick_gallery(questions, predictions, images, params.report.gallery_images, seed)
    figures = {name: require(PLOTS / f"{name}.svg", "report").read_bytes() for name in (*FIGURES, "audit")}
    labels = json.loads(require(VALIDATION, "validate").read_text(encoding="utf-8"))
    splits = json.loads(require(SPLIT, "split").read_text(encoding="utf-8"))
    with replacing(REPORT) as temporary:
        explained = {name: explain(shown) for name, shown in params.conditions().items()}
        made = provenance(params)
        text = render_report(comparison, training, figures, gallery, made, labels, explained, judged, splits)
        temporary.write_text(text, encoding="utf-8")
    with replacing(TABLE) as temporary:
        temporary.write_text(render(comparison), encoding="utf-8")
    with pipeline_run("report", params) as run:
        run.set_tags({"mlflow.note.content": summary(comparison)})  # the description that MLflow's UI shows
        for path in (REPORT, TABLE, *(PLOTS / f"{name}.svg" for name in figures)):
            run.log_artifact(path)
        run.tag_output(REPORT)
    print(f"report: {REPORT}, {REPORT.stat().st_size / 1e6:.1f} MB, {len(gallery)} images in the gallery")


def provenance(params: Params) -> "Provenance":
    """Return the report's provenance: hashes of all data that DVC tracks, versions and parameters."""
    import yaml
    from ruamel.yaml import YAML

    from abo_vqa.report.html import Provenance

    data: dict[str, str] = {}
    for name in ("data.dvc", "dvc.lock"):
        path = Path(name)
        content = YAML(typ="safe", pure=True).load(path) if path.is_file() else {}
        # dvc.lock has an earlier execution's hashes of stages that run beside or after the report, and keeps those of
        # training seeds that are gone.
        stages = [
            stage
            for name, stage in content.get("stages", {}).items()
            if name not in ("register", "report") and name.partition("@")[2] in ("", *params.models())
        ]
        for stage in [content, *stages]:
            for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
                if not entry["path"].startswith(("src/", "reports/", "params.yaml")):  # parameters are shown in full
                    data[entry["path"]] = entry["md5"]
    # A build's suffix (+cpu) differs between machines.
    versions = {name: version(name).partition("+")[0] for name in PACKAGES}
    values = params.model_dump(mode="json", by_alias=True)
    return Provenance(dict(sorted(data.items())), versions, yaml.safe_dump(values, sort_keys=False))


if __name__ == "__main__":
    run_stage("report", main)
