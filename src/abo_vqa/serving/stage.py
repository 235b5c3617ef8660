"""Stage register: register one adapter of every arm in MLflow; the champion changes only if registry.promote."""

import abo_vqa.common.processor  # noqa: F401

import json
from pathlib import Path

from abo_vqa.common.layout import COMPARISON
from abo_vqa.common.params import read_params
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import require, write_json

REGISTERED = Path("reports/registered.json")


def main() -> None:
    """Register the compared adapters; write their digests, without version numbers, which differ between stores."""
    params = read_params()
    comparison = json.loads(require(COMPARISON, "compare").read_text(encoding="utf-8"))
    # Imported here: a wrong parameter is reported before seconds of importing.
    from abo_vqa.common.tracking.run import pipeline_run
    from abo_vqa.serving.registry import register_or_warn, results_digests

    with pipeline_run("register", params) as run:
        register_or_warn(comparison, params, run.id)
    write_json(REGISTERED, results_digests(comparison, params))


if __name__ == "__main__":
    run_stage("register", main)
