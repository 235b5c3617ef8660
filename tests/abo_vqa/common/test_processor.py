"""A stage's libraries compute with kernels that every x86 processor has; other commands keep the fastest ones."""

from abo_vqa.common.processor import PORTABLE

import ast
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors are left alone")

# What the libraries say themselves, not what the environment asks of them.
KERNELS = """
import json, os
import abo_vqa.common.processor, numpy, scipy.linalg, threadpoolctl, torch
torch.nn.functional.linear(torch.ones(40, 40), torch.ones(40, 40))
from numpy._core._multiarray_umath import __cpu_features__ as features
print(json.dumps({
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numpy": [name for name, used in features.items() if used and name in GROUPS],
    "blas": sorted({pool["architecture"] for pool in threadpoolctl.threadpool_info() if "architecture" in pool}),
    "names": {name: os.environ.get(name) for name in NAMES},
}))
"""


def kernels(**environment: str) -> tuple[dict[str, object], str]:
    """Return what the libraries of a new process report, and MKL's own lines."""
    outer = {name: value for name, value in os.environ.items() if name not in {*PORTABLE, "DVC_STAGE"}}
    groups = PORTABLE["NPY_DISABLE_CPU_FEATURES"].split()
    code = KERNELS.replace("NAMES", repr(list(PORTABLE))).replace("GROUPS", repr(groups))
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=outer | {"MKL_VERBOSE": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = ended.stdout.splitlines()
    return json.loads(lines[-1]), "\n".join(line for line in lines if line.startswith("MKL_VERBOSE SGEMM"))


@X86
def test_a_stage_computes_with_portable_kernels() -> None:
    found, mkl = kernels(DVC_STAGE="train")
    assert found["torch"] == "AVX2" and found["numpy"] == [] and found["blas"] == ["Haswell"]
    assert "CNR:COMPATIBLE" in mkl
    assert found["names"] == PORTABLE


@X86
def test_other_commands_and_named_kernels_are_left_alone() -> None:
    found, mkl = kernels()
    assert set(found["names"].values()) == {None} and "CNR:COMPATIBLE" not in mkl  # type: ignore[attr-defined]
    found, mkl = kernels(DVC_STAGE="train", MKL_CBWR="AUTO")
    assert found["torch"] == "AVX2" and "CNR:AUTO" in mkl


def test_every_stage_chooses_its_kernels_before_it_imports_anything_else(root: Path) -> None:
    # The stage parameters computes nothing.
    stages = sorted(path for path in root.glob("src/abo_vqa/*/stage.py") if path.parent.name != "parameters")
    assert len(stages) == 11
    for stage in stages:
        first = next(n for n in ast.parse(stage.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom))
        assert isinstance(first, ast.Import) and first.names[0].name == "abo_vqa.common.processor", stage
