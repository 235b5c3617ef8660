"""The machines that a run is planned for: their memory and speed, from the vendors' data sheets or measured."""

import time
from typing import NamedTuple

import psutil

from abo_vqa.common.errors import InputError
from abo_vqa.model.base.devices import installed_gpus

GIB = 2**30


class Card(NamedTuple):
    """A GPU, or this machine's processor.

    memory: bytes that programs can have. operations: peak a second, dense, in 16 bits (float32 on a CPU). bandwidth:
    bytes a second. bf16: whether it computes in bfloat16. source: where the figures come from.
    """

    name: str
    memory: float
    operations: float
    bandwidth: float
    bf16: bool
    source: str


# NVIDIA's data sheets: dense tensor operations in 16 bits, memory bandwidth; memory as drivers report it.
CARDS = {
    name: Card(name, memory * GIB, teraflops * 1e12, gigabytes * 1e9, bf16, "data sheet")
    for name, memory, teraflops, gigabytes, bf16 in (
        ("P100", 15.9, 18.7, 732, False),
        ("T4", 14.7, 65, 320, False),
        ("V100", 15.8, 112, 900, False),
        ("L4", 22.0, 121, 300, True),
        ("A10", 22.0, 125, 600, True),
        ("RTX3090", 23.6, 71, 936, True),
        ("RTX4090", 23.5, 165, 1008, True),
        ("A100", 39.4, 312, 1555, True),
        ("A100-80GB", 79.1, 312, 2039, True),
        ("L40S", 44.4, 362, 864, True),
        ("H100", 79.1, 989, 3350, True),
        ("H200", 139.8, 989, 4800, True),
    )
}


def card(name: str | None) -> Card:
    """Return the card of this name; None: this machine's first GPU, or its processor. Raises InputError if unknown."""
    if name is None:
        gpus = installed_gpus()
        if not gpus:
            return this_processor()
        name = gpus[0].name
    if name.lower() == "cpu":
        return this_processor()
    wanted = _plain(name)
    # The longest first: "NVIDIA A100-SXM4-80GB" is no A10.
    found = [known for known in sorted(CARDS, key=len, reverse=True) if _plain(known) in wanted]
    if "80gb" in wanted and "A100" in found:
        found = ["A100-80GB"]
    if not found:
        raise InputError(f"--card {name}: unknown; known are cpu, {', '.join(CARDS)}")
    return CARDS[found[0]]


def this_processor() -> Card:
    """Return this machine's processor, with the speed of a matrix product measured in half a second."""
    import torch

    left = torch.ones(1024, 1024)
    left @ left
    started, products = time.perf_counter(), 0
    while time.perf_counter() - started < 0.5:
        left @ left
        products += 1
    rate = products * 2 * 1024**3 / (time.perf_counter() - started)
    # A model's weights are read from memory once a generated token, at about 10 GB/s a channel.
    return Card("cpu", psutil.virtual_memory().total, rate, 1e10, False, "measured")


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
