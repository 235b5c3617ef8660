"""Stage report: everything measured in, one HTML file and its figures out."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from abo_vqa.common.layout import COMPARISON, CURVES, PREDICTIONS, TRAINING, read_image_bytes, read_questions
from abo_vqa.common.params import PARAMS_FILE, read_params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.project import git, head
from abo_vqa.common.runner import run_stage

if TYPE_CHECKING:
    from abo_vqa.report.html import Provenance

REPORT = Path("reports/report.html")
PLOTS = Path("reports/plots")
# What the report's figures could change with.
CODE = ["src", "expectations", "dvc.yaml", PARAMS_FILE.name, "data.dvc"]
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "bert-score", "mlflow", "dvc", "great-expectations")


def main() -> None:
    """Draw the comparison's figures and write reports/report.html."""
    params = read_params()
    # Imported here: a wrong parameter is reported before seconds of importing.
    import pandas as pd

    from abo_vqa.common.draws import derive_seed
    from abo_vqa.common.storage import read_table, replacing, require
    from abo_vqa.common.tracking.run import pipeline_run
    from abo_vqa.report.html import pick_gallery, render_report
    from abo_vqa.report.plots import plot_calibration, plot_confusion, plot_curves, plot_forest

    comparison = json.loads(require(COMPARISON, "compare").read_text(encoding="utf-8"))
    models = comparison["models"]
    predictions = {name: pd.DataFrame(read_table(PREDICTIONS / f"{name}.parquet", "evaluate")) for name in models}
    arms = [name for name in models if name in params.arms]
    curves = {arm: pd.read_csv(require(CURVES / f"{arm}.csv", "train")) for arm in arms}
    training = {arm: json.loads(require(TRAINING / f"{arm}.json", "train").read_text()) for arm in arms}
    planned = {name for one in params.compare.planned for name in one.conditions}
    judged = [name for name in comparison["conditions"] if name in planned] or comparison["conditions"]
    plain = [name for name in judged if params.evaluate.conditions[name] == ConditionParams()]
    plot_forest(comparison, PLOTS / "forest.svg")
    plot_curves(curves, params.train.max_grad_norm, PLOTS / "curves.svg")
    plot_calibration(predictions, judged, PLOTS / "calibration.svg")
    plot_confusion(predictions, (plain or judged)[0], PLOTS / "confusion.svg")
    questions = read_questions("test")
    images = read_image_bytes(row["image_id"] for row in questions)
    seed = derive_seed(params.seed, "report", "gallery")
    gallery = pick_gallery(questions, predictions, images, params.report.gallery_images, seed)
    figures = {
        name: require(PLOTS / f"{name}.svg", "report").read_bytes()
        for name in ("forest", "curves", "calibration", "confusion", "audit")
    }
    with replacing(REPORT) as temporary:
        text = render_report(comparison, training, figures, gallery, provenance())
        temporary.write_text(text, encoding="utf-8")
    with pipeline_run("report", params) as run:
        for path in (REPORT, *(PLOTS / f"{name}.svg" for name in figures)):
            run.log_artifact(path)
    print(f"{REPORT}: {REPORT.stat().st_size / 1e6:.1f} MB, {len(gallery)} images in the gallery")


def provenance() -> "Provenance":
    """Return the commit, what differs from it, and the hashes of all data that DVC knows."""
    from ruamel.yaml import YAML

    from abo_vqa.report.html import Provenance

    data: dict[str, str] = {}
    for name in ("data.dvc", "dvc.lock"):
        path = Path(name)
        content = YAML(typ="safe", pure=True).load(path) if path.is_file() else {}
        for stage in [content, *content.get("stages", {}).values()]:
            for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
                if not entry["path"].startswith(("src/", "reports/")):
                    data[entry["path"]] = entry["md5"]
    changed = [line[3:] for line in (git("status", "--porcelain", "--", *CODE) or "").splitlines()]
    versions = {name: version(name) for name in PACKAGES}
    return Provenance(head() or "", changed, dict(sorted(data.items())), versions, PARAMS_FILE.read_text())


if __name__ == "__main__":
    run_stage("report", main)
