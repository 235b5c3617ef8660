"""A figure is the same bytes whenever it is drawn."""

import pytest

from abo_vqa.common.figures import figure


def test_a_figure_is_laid_out_to_six_digits_since_the_layouts_last_bits_vary_from_drawing_to_drawing(tmp_path):
    with figure(tmp_path / "figure.svg", 7, 3) as drawn:
        for panel in drawn.subplots(1, 3):
            panel.set_ylabel("accuracy")
    edges = [edge for panel in drawn.axes for edge in panel.get_position().bounds]
    assert edges == pytest.approx([round(edge, 6) for edge in edges], abs=1e-12)
    assert not any(0.99 < edge for edge in edges), "nothing was laid out"
