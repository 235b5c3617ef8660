"""The planned work against what the demo's evaluation really reads."""

from pathlib import Path

import pytest

from abo_vqa.common.layout import read_questions
from abo_vqa.common.params import read_params
from abo_vqa.inference.ask import BLANK, blank_image, prompts_by_image
from abo_vqa.inference.conditions import questions_asked
from abo_vqa.inference.prompt_tree.scorer import Scorer
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.planning.work import tokens_per_question


@pytest.mark.slow
def test_an_evaluation_reads_as_many_tokens_as_planned(repro_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repro_once)
    params, rows = read_params(), read_questions("test")
    asked = questions_asked(params, rows, read_questions("train"))
    images = {BLANK: blank_image()}
    model, collator = load_base(params.model), ImageCollator(load_processor(params.model), images, None, 4096)
    sizes = Scorer(model, collator, 8, 512).sizes(prompts_by_image(asked, params.prompt_of(None)))
    assert sum(sizes.values()) / len(rows) == pytest.approx(tokens_per_question(params), rel=0.15)
