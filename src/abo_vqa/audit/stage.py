"""Stage audit: score text-only baselines on every split."""

import abo_vqa.common.processor  # noqa: F401

from pathlib import Path

from abo_vqa.common.layout import AUDIT
from abo_vqa.common.layout import split_table as path_of
from abo_vqa.common.params import read_params
from abo_vqa.common.runner import run_stage

COLUMNS = ["qa_id", "image_id", "image_group", "question_type", "question", "options", "answer", "matched_options"]
TABLE = Path("reports/audit.md")
PLOT = Path("reports/plots/audit.svg")


def main() -> None:
    """Audit every split; write and log reports/audit.json, audit.md and plots/audit.svg."""
    params = read_params()
    # Imported here: it takes seconds, and errors about parameters should not wait for it.
    import pandas as pd

    from abo_vqa.audit.audit import audit, texts_of
    from abo_vqa.audit.markdown import best_line, render_audit
    from abo_vqa.audit.plots import plot_audit
    from abo_vqa.audit.text_only_embeddings import embed
    from abo_vqa.common.schema import SPLITS, TRAIN
    from abo_vqa.common.storage import read_table, replacing, write_json
    from abo_vqa.common.tracking.run import tracked_run

    settings, confidence = params.audit, params.compare.confidence
    tables = {split: pd.DataFrame(read_table(path_of(split), "split", COLUMNS), columns=COLUMNS) for split in SPLITS}
    with tracked_run("audit", params, {"part": "audit"}) as run:
        vectors = embed(texts_of(*tables.values()), settings.encoder)
        train = tables.pop(TRAIN)
        report = audit(train, tables, vectors, settings.folds, confidence)
        write_json(AUDIT, report)
        with replacing(TABLE) as temporary:
            temporary.write_text(render_audit(report, confidence), encoding="utf-8")
        plot_audit(report, PLOT)
        run.log_metrics(
            {
                f"{part}/{condition}/{name}": row["total"]["accuracy"]
                for part, conditions in report.items()
                for condition, predictors in conditions.items()
                for name, row in predictors.items()
            }
        )
        for path in (AUDIT, TABLE, PLOT):
            run.log_artifact(path)
        run.tag_output(AUDIT)
    print(f"audit: best accuracy without the image: {best_line(report)}")


if __name__ == "__main__":
    run_stage("audit", main)
