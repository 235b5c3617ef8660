"""Cards by their names, as people and drivers write them."""

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.model.base.devices import Gpu
from abo_vqa.planning import cards
from abo_vqa.planning.cards import card


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("T4", "T4"),
        ("Tesla T4", "T4"),
        ("a100", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA H100 80GB HBM3", "H100"),
    ],
)
def test_names_of_people_and_drivers_are_known(name: str, known: str) -> None:
    assert card(name).name == known


def test_without_a_name_it_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "installed_gpus", lambda: (Gpu("Tesla T4", "550"), Gpu("Tesla T4", "550")))
    assert card(None).name == "T4"
    monkeypatch.setattr(cards, "installed_gpus", tuple)
    processor = card(None)
    assert processor.name == "cpu" and processor.source == "measured"
    assert processor.operations > 1e8 and processor.memory > 1e9


def test_an_unknown_card_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"--card Voodoo2: unknown; known are cpu, .*T4"):
        card("Voodoo2")
