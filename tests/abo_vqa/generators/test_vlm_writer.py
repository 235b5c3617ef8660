"""The model that writes questions: valid whatever its weights, draws of each image's own, memory that runs out."""

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import xgrammar
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlavaNextForConditionalGeneration

from abo_demo.llava_next import TEMPLATE, TINY, save_llava_next
from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import check_params
from abo_vqa.common.params.data import VlmParams
from abo_vqa.generators import vlm_writer
from abo_vqa.generators.output_schema import (
    NOT_JSON,
    OTHER_FORM,
    TRUNCATED,
    count_questions,
    failure_of,
    longest_output,
    most_new_tokens,
    question_schema,
)
from abo_vqa.generators.sampling import DrawPerRow
from abo_vqa.generators.vlm_writer import (
    OUT_OF_MEMORY,
    Output,
    Picture,
    QuestionWriter,
    compile_grammar,
    generate_batches,
)
from abo_vqa.model.base.memory import FILLED, cache_bytes
from paths import ROOT

PROMPT = "Write five questions as JSON."
LONGEST = {"longest_question": 24, "longest_word": 5}


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava_next(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    """Return 200 drawn product images of five aspect ratios, one for each of the grid's pinpoints."""
    drawn = []
    for number in range(200):
        rng = derive_rng(2, number)
        shape = [(96, 48), (48, 96), (64, 64), (120, 40), (40, 120)][number % 5]
        with io.BytesIO() as file:
            draw_scene(sample_scene(rng), rng, shape).save(file, "JPEG")
            drawn.append(Picture(f"{number:02x}/{number:08x}.jpg", file.getvalue()))
    return drawn


def vlm_params(base: Path, **changes: Any) -> VlmParams:
    """Return the committed parameters over another model, short texts, in full precision unless changed."""
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    vlm = values["generate"]["vlm"]
    vlm |= {"base": str(base), **LONGEST}
    vlm["quantization"] |= {"load_in_4bit": False, "compute_dtype": "float32"}
    for name, value in changes.items():
        vlm[name] = vlm[name] | value if isinstance(value, dict) else value
    return check_params(values).generate.vlm


def texts(writer: QuestionWriter, pictures: Sequence[Picture], batch_size: int) -> list[str | None]:
    batches = generate_batches(writer, pictures, batch_size)
    return [output.text for batch in batches for output in batch.outputs]


def check_questions(text: str | None) -> None:
    """Check an output without the schema: what the issue says of the five questions."""
    assert text is not None
    questions = json.loads(text)["questions"]
    kinds = [question["type"] for question in questions]
    assert kinds == ["existential", "attribute", "attribute", "counting", "comparison"]
    for question in questions:
        words = [question["answer"], *question["distractors"]]
        assert len(words) == 4
        assert all(re.fullmatch("[a-z-]{1,7}|10|[0-9]", word) for word in words)
        assert question["question"].endswith("?")
    assert {questions[0]["answer"], questions[0]["distractors"][0]} == {"yes", "no"}
    assert all(0 <= int(word) <= 10 for word in [questions[3]["answer"], *questions[3]["distractors"]])


@pytest.mark.slow
def test_every_output_of_random_weights_is_valid(tiny_vlm: Path, pictures: list[Picture]) -> None:
    params = vlm_params(tiny_vlm)
    batches = generate_batches(QuestionWriter(params, PROMPT, seed=1), pictures, batch_size=50)
    outputs = [output for batch in batches for output in batch.outputs]
    assert [output.image_path for output in outputs] == [picture.path for picture in pictures]
    assert len(outputs) >= 200
    for output in outputs:
        assert output.failure is None
        check_questions(output.text)
    assert len({output.text for output in outputs}) == len(outputs)


@pytest.mark.parametrize("spread", [0.001, 3.0])
def test_timid_and_wild_weights_write_valid_outputs_too(tmp_path: Path, pictures: list[Picture], spread: float) -> None:
    """Nearly equal scores, and scores so far apart that one token takes it all."""
    params = vlm_params(save_llava_next(tmp_path, seed=1, spread=spread))
    for text in texts(QuestionWriter(params, PROMPT, seed=1), pictures[:4], 4):
        check_questions(text)


def test_a_4_bit_model_and_greedy_search_write_valid_outputs_too(tiny_vlm: Path, pictures: list[Picture]) -> None:
    params = vlm_params(tiny_vlm, quantization={"load_in_4bit": True}, sampling={"do_sample": False})
    writer = QuestionWriter(params, PROMPT, seed=1)
    for text in texts(writer, pictures[:2], 2):
        check_questions(text)


def test_another_class_of_model_writes_valid_outputs_too(root: Path, pictures: list[Picture]) -> None:
    params = vlm_params(root / "models/demo")
    for text in texts(QuestionWriter(params, PROMPT, seed=1), pictures[:2], 2):
        check_questions(text)


def test_the_published_layout_is_loaded_as_llava_next(tiny_vlm: Path) -> None:
    names = {path.name for path in tiny_vlm.iterdir()}
    assert {"config.json", "preprocessor_config.json", "processor_config.json", "chat_template.json"} <= names
    assert {"tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"} <= names
    writer = QuestionWriter(vlm_params(tiny_vlm), PROMPT, seed=1)
    assert isinstance(writer._model, LlavaNextForConditionalGeneration)
    assert type(writer._processor.image_processor).__name__ == "LlavaNextImageProcessorPil"


def test_the_prompt_begins_with_one_begin_token(
    tiny_vlm: Path, tmp_path: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistral's published template leaves the begin token to the tokenizer, others write it themselves."""
    writes_it = shutil.copytree(tiny_vlm, tmp_path / "writes-it")
    (writes_it / "chat_template.json").write_text(json.dumps({"chat_template": "<s>" + TEMPLATE}))
    for folder in (tiny_vlm, writes_it):
        writer = QuestionWriter(vlm_params(folder), PROMPT, seed=1)
        seen = []

        def stop(input_ids: torch.Tensor, seen: list[Any] = seen, **_: Any) -> None:
            seen += input_ids.tolist()
            raise InterruptedError

        monkeypatch.setattr(writer._model, "generate", stop)
        with pytest.raises(InterruptedError):
            writer(pictures[:1])
        [tokens] = seen
        begin = writer._processor.tokenizer.bos_token_id
        assert tokens.count(begin) == 1
        assert tokens[0] == begin


# What can be written, and for how long.


def test_the_slowest_writer_reaches_the_end_in_time(tiny_vlm: Path, grammar: Any) -> None:
    """A model that spells everything byte by byte and never ends a text that could go on."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_vlm)
    params = vlm_params(tiny_vlm)
    matcher = xgrammar.GrammarMatcher(grammar)
    mask = xgrammar.allocate_token_bitmask(1, len(tokenizer))
    spelled = grammar.tokenizer_info.decoded_vocab
    written: list[int] = []
    while not matcher.is_terminated() and len(written) < 2 * most_new_tokens(params):
        matcher.fill_next_token_bitmask(mask, 0)
        scores = torch.zeros(1, len(tokenizer))
        xgrammar.apply_token_bitmask_inplace(scores, mask)
        allowed = scores[0].isfinite().nonzero().flatten().tolist()
        chosen = min(allowed, key=lambda token: (len(spelled[token]), spelled[token] in (b'"', b"?"), token))
        assert matcher.accept_token(chosen)
        written.append(chosen)
    text = tokenizer.decode(written, skip_special_tokens=True)
    check_questions(text)
    assert len(written) == len(text) + 1
    assert 0.95 * most_new_tokens(params) < len(written) <= most_new_tokens(params)


def words(*patterns: str) -> st.SearchStrategy[list[str]]:
    return st.tuples(*(st.from_regex(pattern, fullmatch=True) for pattern in patterns)).map(list)


WORD, COUNT, TEXT = "[a-z][a-z-]{0,4}", "10|[0-9]", r"[A-Z][A-Za-z0-9 ,'-]{5,22}\?"


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw any output that should be allowed."""
    yes = draw(st.booleans())
    kinds = {
        "existential": ["yes" if yes else "no", "no" if yes else "yes", "maybe", "unclear"],
        "attribute": draw(words(*[WORD] * 4)),
        "attribute ": draw(words(*[WORD] * 4)),
        "counting": draw(words(*[COUNT] * 4)),
        "comparison": draw(words(*[WORD] * 4)),
    }
    return {
        "questions": [
            {"type": kind.strip(), "question": draw(words(TEXT))[0], "answer": first, "distractors": others}
            for kind, (first, *others) in kinds.items()
        ]
    }


@pytest.fixture(scope="session")
def grammar(tiny_vlm: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(tiny_vlm)
    return compile_grammar(tokenizer, len(tokenizer), [tokenizer.eos_token_id], question_schema(**LONGEST))


@given(document=documents())
def test_grammar_and_schema_allow_whatever_should_be(grammar: Any, document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert xgrammar.GrammarMatcher(grammar).accept_string(text)
    assert failure_of(text, True, question_schema(**LONGEST)) is None
    assert len(text) <= len(longest_output(**LONGEST))


def test_the_longest_output_is_one(grammar: Any) -> None:
    text = longest_output(**LONGEST)
    assert xgrammar.GrammarMatcher(grammar).accept_string(text)
    assert Draft202012Validator(question_schema(**LONGEST)).is_valid(json.loads(text))
    assert text.isascii()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"no", "maybe"', '"yes", "maybe"'),  # the answer among its own distractors
        ('"10", "10", "10"]', '"10", "10"]'),
        ('"answer": "10"', '"answer": "11"'),
        ('"answer": "aaaaa"', '"answer": "aaaaaa"'),
        ('"answer": "aaaaa"', '"answer": "aa aa"'),
        ("A?", "AA?"),
        ('"comparison"', '"attribute"'),
    ],
)
def test_grammar_and_schema_refuse_the_same(grammar: Any, old: str, new: str) -> None:
    text = longest_output(**LONGEST)
    wrong = text.replace(old, new, 1)
    assert wrong != text
    assert not xgrammar.GrammarMatcher(grammar).accept_string(wrong)
    assert failure_of(wrong, True, question_schema(**LONGEST)) == OTHER_FORM


def test_failures_have_their_names() -> None:
    schema = question_schema(**LONGEST)
    good = longest_output(**LONGEST)
    assert failure_of(good, False, schema) == TRUNCATED
    assert failure_of(f"```json\n{good}\n```", True, schema) == NOT_JSON
    assert failure_of("[" * 100_000, True, schema) == NOT_JSON
    assert failure_of('{"questions": []}', True, schema) == OTHER_FORM


def test_free_text_is_generated_and_counted(tiny_vlm: Path, pictures: list[Picture]) -> None:
    params = vlm_params(tiny_vlm, constrained=False, max_new_tokens=30)
    assert most_new_tokens(params) == 30
    outputs = QuestionWriter(params, PROMPT, seed=1)(pictures[:30])
    failures = Counter(output.failure for output in outputs)
    # Random weights end a text now and then, and never write JSON.
    assert failures.keys() == {TRUNCATED, NOT_JSON}
    assert failures.total() == 30


# The draws.


def test_draws_follow_the_probabilities() -> None:
    scores = torch.tensor([[2.0, float("-inf"), 1.0, 0.0]])
    draw = DrawPerRow([Random(1)])
    drawn = Counter(int(draw(torch.empty(1, 0), scores).argmax()) for _ in range(4000))
    for token, expected in enumerate(scores.softmax(-1)[0].tolist()):
        # Within four standard errors.
        assert abs(drawn[token] / 4000 - expected) <= 4 * (expected * (1 - expected) / 4000) ** 0.5


@given(
    st.lists(st.sampled_from([float("-inf"), -50.0, 0.0, 3.0]), min_size=2, max_size=9).filter(
        lambda scores: max(scores) > float("-inf")
    ),
    st.sampled_from([0.0, 0.5, 1 - 2**-53]),
)
def test_no_draw_falls_on_what_is_masked(scores: list[float], number: float) -> None:
    class Fixed(Random):
        def random(self) -> float:
            return number

    drawn = int(DrawPerRow([Fixed()])(torch.empty(1, 0), torch.tensor([scores])).argmax())
    assert scores[drawn] > float("-inf")


def test_a_rows_draws_are_its_own(tiny_vlm: Path, pictures: list[Picture]) -> None:
    """The sums that scores come from depend on the batch in their last bits, so one text may differ."""
    writer = QuestionWriter(vlm_params(tiny_vlm), PROMPT, seed=1)
    five = texts(writer, pictures[:5], 5)
    assert five == texts(writer, pictures[:5], 5)
    assert sum(a == b for a, b in zip(five, texts(writer, pictures[:5], 3), strict=True)) >= 4
    assert sum(a == b for a, b in zip(five, reversed(texts(writer, pictures[4::-1], 5)), strict=True)) >= 4


def test_another_seed_writes_otherwise(tiny_vlm: Path, pictures: list[Picture]) -> None:
    params = vlm_params(tiny_vlm)
    one, other = (texts(QuestionWriter(params, PROMPT, seed), pictures[:2], 2) for seed in (1, 2))
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_two_images_of_one_seed_differ_by_their_draws_alone(tiny_vlm: Path, pictures: list[Picture]) -> None:
    twice = [pictures[0], replace(pictures[0], path="another.jpg")]
    one, other = texts(QuestionWriter(vlm_params(tiny_vlm), PROMPT, seed=1), twice, 2)
    assert one != other


# Memory that runs out.


class Fits:
    """Stands in for a model: fails beyond `most` pictures, and always with the picture `huge`."""

    def __init__(self, most: int, error: Exception, huge: str = "") -> None:
        self.most, self.error, self.huge = most, error, huge
        self.asked: list[int] = []

    def __call__(self, pictures: Sequence[Picture]) -> list[Output]:
        self.asked.append(len(pictures))
        if len(pictures) > self.most or self.huge in [picture.path for picture in pictures]:
            raise self.error
        return [Output(picture.path, f"of {picture.path}", None) for picture in pictures]


NAMED = [Picture(f"{number}.jpg", b"") for number in range(11)]
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(error: Exception) -> None:
    model = Fits(3, error)
    batches = list(generate_batches(model, NAMED, 8))
    assert model.asked == [8, 4, 2, 2, 2, 2, 2, 1]
    assert [output.image_path for batch in batches for output in batch.outputs] == [p.path for p in NAMED]
    assert {batch.batch_size for batch in batches} == {2}


def test_a_picture_that_does_not_fit_alone_is_recorded_and_passed_over() -> None:
    batches = list(generate_batches(Fits(8, ERRORS[0], huge="5.jpg"), NAMED, 4))
    outputs = [output for batch in batches for output in batch.outputs]
    assert [output.image_path for output in outputs] == [picture.path for picture in NAMED]
    assert [output for output in outputs if output.failure] == [Output("5.jpg", None, OUT_OF_MEMORY)]
    assert all(output.text for output in outputs if output.image_path != "5.jpg")


def test_any_other_error_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(generate_batches(Fits(0, RuntimeError("size mismatch")), NAMED, 4))


def test_halves_write_what_the_model_writes_at_that_size(
    tiny_vlm: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = QuestionWriter(vlm_params(tiny_vlm), PROMPT, seed=1)
    expected = texts(writer, pictures[:4], 2)
    generate = writer._model.generate

    def limited(input_ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(input_ids=input_ids, **inputs)

    monkeypatch.setattr(writer._model, "generate", limited)
    assert texts(writer, pictures[:4], 5) == expected


# What is refused.


def test_weights_that_are_no_numbers_are_refused(tiny_vlm: Path, tmp_path: Path, pictures: list[Picture]) -> None:
    broken = shutil.copytree(tiny_vlm, tmp_path / "broken")
    index = json.loads((broken / "model.safetensors.index.json").read_text())["weight_map"]
    [head] = [name for name in index if name.endswith("lm_head.weight")]
    shard = broken / index[head]
    save_file(load_file(shard) | {head: torch.full((TINY.rows, 64), float("nan"))}, shard, {"format": "pt"})
    with pytest.raises(InputError, match="compute_dtype"):
        QuestionWriter(vlm_params(broken), PROMPT, seed=1)(pictures[:1])


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    for base, says in ((tmp_path / "nowhere", "there is no folder"), (tmp_path, "cannot open")):
        with pytest.raises(InputError, match=rf"generate\.vlm\.base: {says}"):
            QuestionWriter(vlm_params(base), PROMPT, seed=1)


def test_a_model_without_chat_template_is_named(tiny_vlm: Path, tmp_path: Path) -> None:
    mute = shutil.copytree(tiny_vlm, tmp_path / "mute", ignore=shutil.ignore_patterns("chat_template*"))
    with pytest.raises(InputError, match="no chat template"):
        QuestionWriter(vlm_params(mute), PROMPT, seed=1)


def test_an_output_beyond_the_context_is_refused(tiny_vlm: Path, tmp_path: Path, pictures: list[Picture]) -> None:
    short = shutil.copytree(tiny_vlm, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 600
    (short / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"context of .*short, 600; lower longest_question"):
        QuestionWriter(vlm_params(short), PROMPT, seed=1)(pictures[:1])


def test_the_longest_bounds_can_be_compiled(tiny_vlm: Path) -> None:
    QuestionWriter(vlm_params(tiny_vlm, longest_question=128, longest_word=128), PROMPT, seed=1)


def test_an_unreadable_image_is_named(tiny_vlm: Path) -> None:
    with pytest.raises(InputError, match=r"torn\.jpg: its image cannot be read"):
        QuestionWriter(vlm_params(tiny_vlm), PROMPT, seed=1)([Picture("torn.jpg", b"\xff\xd8\xff")])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (longest_output(24, 5), 5),
        ('{"questions": []}', 0),
        ('{"questions": ["?", 1]}', 2),
        ('{"questions": "five"}', 0),
        ('{"questions": null}', 0),
        ('{"answers": [1]}', 0),
        ("[1]", 0),
        ("3", 0),
        ('{"questions": [', 0),
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_questions_of_an_output_are_counted(text: str, count: int) -> None:
    assert count_questions(text) == count


def test_as_many_images_at_once_as_the_memory_holds(
    tiny_vlm: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = vlm_params(tiny_vlm, batch_size="auto")
    writer = QuestionWriter(params, PROMPT, seed=1)
    assert writer.batch_size(pictures) == 8, "without a GPU"
    # The narrow pictures have the most tiles, and are among the first.
    longest = max(writer._encode([picture])["input_ids"].shape[1] for picture in pictures[:5])
    each = (longest + most_new_tokens(params)) * cache_bytes(writer._model.config, torch.float32) + 8 * TINY.rows
    for images, expected in ((5, 4), (4, 4), (3, 2), (0, 1)):
        memory = int((writer._model.get_memory_footprint() + images * each) / FILLED) + 1
        monkeypatch.setattr(vlm_writer, "gpu_memory", lambda memory=memory: memory)
        assert writer.batch_size(pictures) == expected
