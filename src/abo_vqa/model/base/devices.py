"""The machine's NVIDIA GPUs, listed without initializing CUDA, and a warning where PyTorch cannot use them."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

VISIBLE = "CUDA_VISIBLE_DEVICES"
_QUERY = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
_COUNT = "import torch; print(torch.cuda.device_count())"
_DRIVER = Path("/dev/nvidiactl")  # there wherever a driver is loaded


class Gpu(NamedTuple):
    """A GPU of the machine and the version of its driver."""

    name: str
    driver: str


@cache
def installed_gpus() -> tuple[Gpu, ...]:
    """Return the machine's GPUs, visible to CUDA or not."""
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, check=False)
    except OSError:
        return _counted_by_torch()
    lines = [line for line in listed.stdout.splitlines() if listed.returncode == 0 and "," in line]
    return tuple(Gpu(*map(str.strip, line.rsplit(",", 1))) for line in lines)


def _counted_by_torch() -> tuple[Gpu, ...]:
    """Return the GPUs of a machine without nvidia-smi, as some containers are."""
    if not _DRIVER.exists():
        return ()
    # In a process of its own: CUDA reads CUDA_VISIBLE_DEVICES once.
    whole = {name: value for name, value in os.environ.items() if name != VISIBLE}
    counted = subprocess.run([sys.executable, "-c", _COUNT], env=whole, capture_output=True, text=True, check=False)
    return (Gpu("an NVIDIA GPU", "of unknown version"),) * int(counted.stdout.strip() or 0)


def visible_gpus() -> list[str]:
    """Return the GPUs that CUDA would show this process, as CUDA_VISIBLE_DEVICES names them; the user's own come first.

    Call it before CUDA is initialized.
    """
    installed = len(installed_gpus())
    own = os.environ.get(VISIBLE)
    if own is None or not installed:
        return [str(number) for number in range(installed)]
    # CUDA ignores everything from the first invalid entry on.
    named = [entry.strip() for entry in own.split(",")]
    return named[: next((place for place, entry in enumerate(named) if entry in ("", "-1")), None)]


@cache
def warn_of_unusable_gpus() -> None:
    """Warn on standard error, once, if the machine has a visible GPU that PyTorch cannot use."""
    import torch  # slow, and the functions above do without it

    if torch.cuda.is_available() or not visible_gpus():
        return
    gpu = installed_gpus()[0]
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    print(
        f"abo-vqa: warning: computing on the CPU: {gpu.name} has driver {gpu.driver}, and PyTorch {torch.__version__}, "
        f"{built}, cannot use it; update the driver or install the build of PyTorch that fits it",
        file=sys.stderr,
    )
