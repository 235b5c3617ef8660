"""Machines with NVIDIA GPUs that are not there, as nvidia-smi lists them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from abo_vqa.model.base import devices


@contextmanager
def gpus(count: int, visible: str | None = None, driver: str = "535.104.05") -> Iterator[pytest.MonkeyPatch]:
    """Pretend to have so many Tesla T4; visible: CUDA_VISIBLE_DEVICES, None where the user has not set it."""

    def run(command: list[str], **_: Any) -> Any:
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, stdout=f"Tesla T4, {driver}\n" * count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices.subprocess, "run", run)
        if visible is None:
            patch.delenv(devices.VISIBLE, raising=False)
        else:
            patch.setenv(devices.VISIBLE, visible)
        devices.installed_gpus.cache_clear()
        devices.warn_of_unusable_gpus.cache_clear()
        yield patch
    devices.installed_gpus.cache_clear()
    devices.warn_of_unusable_gpus.cache_clear()
