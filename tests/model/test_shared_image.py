"""Sharing an image among its questions is exact: the same loss and gradients as one sequence per question."""

import pytest
import torch

from abo_vqa.demo.base_model import build_model, train_tokenizer
from abo_vqa.demo.teaching import answer_loss
from abo_vqa.model.shared_image import Segment, shared_image_batch


def test_shared_and_separate_sequences_give_the_same_loss_and_gradients() -> None:
    torch.manual_seed(0)
    model = build_model(train_tokenizer(["some words to learn from"] * 5)).eval()
    image_token = model.config.image_token_id
    prefix = [2, *[image_token] * 64]
    questions = [
        [Segment([20, 21, 22], [40, 1]), Segment([23, 24, 25, 26, 27], [41, 42, 1]), Segment([28], [43, 1])],
        [Segment([30, 31, 32, 33], [44, 1])],
    ]
    pixels = torch.randn(2, 3, 112, 112)

    def gradients(batches: list[dict[str, torch.Tensor]]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        answers = sum(int((batch["labels"] >= 0).sum()) for batch in batches)
        total = 0.0
        for batch in batches:
            loss, _ = answer_loss(model, batch)
            share = loss * (batch["labels"] >= 0).sum() / answers
            share.backward()
            total += share.item()
        return total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    together = shared_image_batch(prefix, questions, pad_id=0) | {"pixel_values": pixels}
    alone = [
        shared_image_batch(prefix, [[segment]], pad_id=0) | {"pixel_values": pixels[row : row + 1]}
        for row, segments in enumerate(questions)
        for segment in segments
    ]
    shared_loss, shared = gradients([together])
    naive_loss, naive = gradients(alone)
    assert shared_loss == pytest.approx(naive_loss, rel=1e-6)
    assert (shared - naive).norm() / naive.norm() < 1e-5
