"""Forward passes of the evaluation grow with the GPU's memory."""

from abo_vqa.model.memory import MOST, WITHOUT_GPU, pass_tokens

GIB = 2**30
GEMMA, MISTRAL = 257_216, 32_064


def test_a_set_number_is_kept() -> None:
    assert pass_tokens(100, GEMMA, None) == pass_tokens(100, GEMMA, 80 * GIB) == 100


def test_logits_take_a_quarter_of_the_memory_at_most() -> None:
    assert pass_tokens("auto", GEMMA, None) == WITHOUT_GPU
    for memory, expected in ((14.7, 512), (39.4, 2048), (79.1, 4096)):
        tokens = pass_tokens("auto", GEMMA, int(memory * GIB))
        assert tokens == expected
        assert tokens * GEMMA * 16 <= memory * GIB / 4
    assert pass_tokens("auto", MISTRAL, int(14.7 * GIB)) == MOST
    assert pass_tokens("auto", GEMMA, 1) == 1


def test_cards_of_a_kind_get_the_same_number() -> None:
    # Drivers keep more or less for themselves.
    assert len({pass_tokens("auto", GEMMA, int(memory * GIB)) for memory in (14.56, 14.75, 15.0)}) == 1
