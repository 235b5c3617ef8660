"""How far two models' answers agree is counted over answers and over options."""

import pandas as pd
import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.export.parity import Parity, parity


def answers(*rows: tuple[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame({"generated": [[said] for said, _ in rows], "log_probabilities": [[own] for _, own in rows]})


def test_equal_answers_and_differences_are_counted() -> None:
    before = answers(("red", [-1.0, -2.0]), ("blue", [-3.0, -4.0, -5.0]))
    after = answers(("red", [-1.0, -2.5]), ("green", [-3.25, -4.0, -4.0]))
    assert parity(before, after) == Parity(answers=2, equal=1, options=5, median=0.25, largest=1.0)


def test_a_log_probability_that_is_no_number_is_an_error() -> None:
    with pytest.raises(InputError, match="no number"):
        parity(answers(("red", [-1.0])), answers(("red", [float("nan")])))
