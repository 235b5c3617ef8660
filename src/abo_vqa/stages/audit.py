"""Stage audit: the splits in, what predictors without the image score on them out."""

from abo_vqa.params import read_params
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import AUDIT, split_table

COLUMNS = ["qa_id", "image_id", "question_type", "question", "options", "answer"]


def main() -> None:
    """Fit the predictors on the train split, score them on the test split, write reports/audit.json."""
    params = read_params()
    # Imported here: a wrong parameter is reported before seconds of importing.
    import pandas as pd

    from abo_vqa.catalog.tables import read_table, write_json
    from abo_vqa.measure.audit import audit
    from abo_vqa.measure.tables import audit_table

    train, test = (
        pd.DataFrame(read_table(split_table(split), "split", COLUMNS), columns=COLUMNS) for split in ("train", "test")
    )
    settings = params.audit
    report = audit(train, test, settings.folds, params.compare.confidence, settings.resamples, params.seed)
    write_json(AUDIT, report)
    print(audit_table(report))


if __name__ == "__main__":
    run_stage("audit", main)
