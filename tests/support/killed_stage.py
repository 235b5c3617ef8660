"""The stage generate in a process of its own, forked from one that has imported what it needs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai.types.chat
import pandas

from abo_vqa.generators import stage
from abo_vqa.generators.endpoint import client

LOADED = (openai.types.chat, pandas, client)


class Unlogged:
    """A run whose metrics go nowhere: opening MLflow takes longer than the stage."""

    def log_metrics(self, values: Any, step: int | None = None) -> None:
        """Do nothing."""


@contextmanager
def untracked(*_: Any) -> Iterator[Unlogged]:
    """Stand in for tracked_run."""
    yield Unlogged()


def run_generate(folder: str, environment: dict[str, str]) -> None:
    """Run the stage in a folder, quietly, as `python -m abo_vqa.generators.stage` does but for MLflow."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    stage.tracked_run = untracked  # type: ignore[assignment]
    stage.run_stage("generate", stage.main)
