"""Inputs that people really bring, each with what is right."""

import os
from pathlib import Path

import pytest

from paths import ROOT


def shared_cases() -> Path:
    """The folder of cases beside that of the real data; skips where there is none."""
    real = Path(os.environ.get("ABO_VQA_REAL_DATA", ROOT.parent / "shared" / "abo"))
    folder = real.parent / "cases"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no cases at {folder}; set ABO_VQA_REAL_DATA to the folder beside it")
    return folder
