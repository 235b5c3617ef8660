"""A short storm of kills; benchmarks/kill_storm.py is the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from project import environment

pytestmark = pytest.mark.slow


def test_kills_of_dvc_and_of_its_stages_change_no_byte(repro_once: Path, root: Path) -> None:
    storm = [sys.executable, str(root / "benchmarks/kill_storm.py"), "--finished", str(repro_once), "--seed", "3"]
    command = [*storm, "--kills", "6", "--stages", "split", "train@standard-1", "evaluate@standard-1"]
    own = environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count(": 2 kills; 0 other, 0 lost") == 3, done.stdout
    assert "every output has the bytes of the undisturbed run, and nothing is left" in done.stdout
