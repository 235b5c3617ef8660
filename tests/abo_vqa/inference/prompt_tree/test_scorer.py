"""Asking all prompts of an image together is exact: probabilities and answers are those of one sequence each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.inference.prompt_tree.tree import Segment, Tree
from abo_vqa.model.adapters import attach_adapters, save_adapter, use_adapter
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import Question, encode_prompts
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from adapted import adapted

NEW = 6
OPTIONS = ("red", "blue", "3", "a dark blue one")
PROMPTS = [
    Prompt("What color is it?\nAnswer with just one word.", OPTIONS),
    Prompt("How many are there?\nOptions: 1, 2, 3, 4\nAnswer with just one option.", ("1", "2", "3")),
    Prompt("Options?", ()),
    Prompt("What color is it?\nAnswer with just one word.", OPTIONS),
    Prompt("What color is it?\nOptions: red, blue\nAnswer with just one option.", OPTIONS[::-1]),
    Prompt("What color is it?\nAnswer with just one word.", OPTIONS[2:]),
    Prompt("What color has the lid?\nAnswer with just one word.", ()),
]


@pytest.fixture(params=["llava", "llava, not quantized", "llava-next", "demo"])
def params(request: pytest.FixtureRequest, tiny_params: Params, root: Path) -> Params:
    model = tiny_params.model
    if request.param == "llava-next":
        model = model.model_copy(update={"base": str(request.getfixturevalue("tiny_next"))})
    if request.param == "demo":
        model = model.model_copy(update={"base": str(root / "models/demo")})
    if request.param == "llava, not quantized":
        update = {"quantization": model.quantization.model_copy(update={"load_in_4bit": False})}
        model = model.model_copy(update=update)
    return tiny_params.model_copy(update={"model": model})


@torch.no_grad()
def naive(model: Any, processor: Any, image: bytes, prompt: Prompt) -> tuple[list[int], list[float]]:
    """Return the greedy tokens of `generate` and each option's log-probability, one sequence each."""
    inputs = encode_prompts(processor, [Question("q", image, prompt.text, "")], "left")
    tokenizer, length = processor.tokenizer, inputs["input_ids"].shape[1]
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    said = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, **ends)[0, length:].tolist()
    scores = []
    for option in prompt.options:
        tokens = torch.tensor([[*tokenizer.encode(option, add_special_tokens=False), tokenizer.eos_token_id]])
        ids = torch.cat([inputs["input_ids"], tokens], 1)
        whole = inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        logits = model(**whole).logits[0, length - 1 : -1].log_softmax(-1)
        scores.append(float(logits.gather(1, tokens.T).sum()))
    return said, scores


@pytest.mark.parametrize(("with_adapter", "together"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("tokens_per_pass", [40, 4096])
def test_answers_and_probabilities_are_those_of_one_sequence_each(
    params: Params, images: dict[str, bytes], tmp_path: Path, with_adapter: bool, together: bool, tokens_per_pass: int
) -> None:
    base, processor = load_base(params.model), load_processor(params.model)
    features = ImageFeatures(tmp_path, images, base, processor)
    model = adapted(params, seed=1, spread=0.05).eval() if with_adapter else base
    generated = []
    for known in (features, None):
        scorer = Scorer(model, ImageCollator(processor, images, known, 8192), NEW, tokens_per_pass)
        # Several images in one cache, and fewer prompts about one of them.
        of = {"image-0": PROMPTS, "image-5": PROMPTS, "image-3": PROMPTS[1:3]}
        answers = scorer.ask_together(of) if together else {image: scorer.ask(image, of[image]) for image in of}
        for image, given in answers.items():
            for prompt, answer in zip(of[image], given, strict=True):
                said, scores = naive(model, processor, images[image], prompt)
                assert list(answer.tokens) == said
                assert answer.log_probabilities == pytest.approx(scores, abs=1e-4)
                generated.append(answer.text)
    if params.model.base.endswith("demo"):
        assert len(set(generated)) > 2, "a model that has learned to answer does so"


@pytest.mark.parametrize(
    ("name", "named"), [("first", " with adapter first are not finite"), ("base", "demo are not finite")]
)
def test_logits_that_are_not_finite_stop_and_name_model_image_and_format(
    make_params: Any, root: Path, images: dict[str, bytes], tmp_path: Path, name: str, named: str
) -> None:
    params = make_params({"model": {"base": str(root / "models/demo")}})
    processor = load_processor(params.model)
    tuned = adapted(params, seed=1, spread=0.05)
    save_adapter(tuned, tmp_path / "first", "base", "card")
    model = attach_adapters(load_base(params.model), {"first": tmp_path / "first"})
    broken = model.get_base_model().model.language_model.norm.weight
    with torch.no_grad():
        broken[0] = torch.inf
    scorer = Scorer(model, ImageCollator(processor, images, None, 8192), NEW, 4096)
    with use_adapter(model, name), pytest.raises(InputError, match=f"image-0: the logits of .*{named} in float32; set"):
        scorer.ask("image-0", PROMPTS[:1])


def test_memory_that_runs_out_makes_the_passes_smaller_and_loses_no_answer(
    tiny_params: Params, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    collator = ImageCollator(processor, images, None, 8192)
    expected = Scorer(model, collator, NEW, "auto").ask("image-0", PROMPTS)
    forward, most = type(model).forward, [100]

    def bounded(self: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        # The image's tokens are read before any prompt.
        if "past_key_values" in kwargs and kwargs["past_key_values"].get_seq_length() and input_ids.shape[1] > most[0]:
            raise torch.OutOfMemoryError("planted")
        return forward(self, input_ids, **kwargs)

    monkeypatch.setattr(type(model), "forward", bounded)
    scorer = Scorer(model, collator, NEW, "auto")
    for found, wanted in zip(scorer.ask("image-0", PROMPTS), expected, strict=True):
        assert found.tokens == wanted.tokens
        assert found.log_probabilities == pytest.approx(wanted.log_probabilities, abs=1e-4)
    said = capsys.readouterr().err
    assert "continuing with 256" in said and "set tokens_per_pass: " in said
    once = said.count("continuing with")
    scorer.ask("image-1", PROMPTS)
    assert capsys.readouterr().err == "" and once > 1, "the smaller size is kept"
    most[0] = 3
    with pytest.raises(InputError, match="image-2: out of memory although each prompt had a forward pass of its own"):
        scorer.ask("image-2", PROMPTS)


def test_images_are_asked_together_as_far_as_their_text_fits_a_pass(
    tiny_params: Params, images: dict[str, bytes]
) -> None:
    model, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    collator = ImageCollator(processor, images, None, 8192)
    first, second = (collator.prompt_tokens(prompt.text) for prompt in PROMPTS[1:3])
    alike = next(place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    tokens = len(first) + len(second) - alike
    tokens += sum(len(collator.tokenizer.encode(option, add_special_tokens=False)) for option in PROMPTS[1].options)
    asked = {f"image-{number}": PROMPTS[1:3] for number in range(5)}
    named = list(asked)
    assert Scorer(model, collator, NEW, 10**6).together(asked) == [[image] for image in named], "without a GPU"
    for limit, expected in ((2 * tokens, [named[:2], named[2:4], named[4:]]), (2 * tokens - 1, [[i] for i in named])):
        assert Scorer(model, collator, NEW, limit, several_images=True).together(asked) == expected


@pytest.mark.parametrize("tokens_per_pass", [100, 4096])
def test_what_prompts_begin_with_in_common_is_read_once_a_pass(
    tiny_params: Params, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tokens_per_pass: int
) -> None:
    model, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    scorer = Scorer(model, ImageCollator(processor, images, None, 8192), 1, tokens_per_pass)
    passes: list[Sequence[Segment]] = []
    read = Tree.read

    def listed(tree: Tree, segments: Sequence[Segment], wanted: Sequence[int]) -> torch.Tensor:
        passes.append(segments)
        return read(tree, segments, wanted)

    monkeypatch.setattr(Tree, "read", listed)
    scorer.ask("image-0", PROMPTS)
    sizes = [sum(len(segment.tokens) for segment in segments) for segments in passes]
    prompts = [tuple(scorer.collator.prompt_tokens(prompt.text)) for prompt in PROMPTS]
    beginnings = {prompt[:end] for prompt in prompts for end in range(1, len(prompt) + 1)}
    options = sum(len(scorer._encoded(option)) for prompt in dict.fromkeys(PROMPTS) for option in prompt.options)
    if tokens_per_pass == 4096:
        assert sizes == [len(beginnings) + options]
    else:
        assert len(sizes) > 1 and max(sizes) <= tokens_per_pass
    assert sum(sizes) < sum(map(len, prompts)) + options


def test_a_prompt_that_another_begins_with_is_answered_by_itself(
    make_params: Any, root: Path, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_params({"model": {"base": str(root / "models/demo")}})
    model, processor = adapted(params, seed=1, spread=0.05).eval(), load_processor(params.model)
    collator = ImageCollator(processor, images, None, 8192)
    whole = collator.prompt_tokens(PROMPTS[0].text)
    # A chat format ends every prompt alike; a model without one may be asked this.
    monkeypatch.setattr(collator, "prompt_tokens", lambda text: whole[: int(text)])
    scorer = Scorer(model, collator, NEW, 4096)
    prompts = [Prompt(str(length), ("red",)) for length in range(4, len(whole) + 1)]
    for prompt, answer in zip(prompts, scorer.ask("image-0", prompts), strict=True):
        (alone,) = scorer.ask("image-0", [prompt])
        assert answer.tokens == alone.tokens
        assert answer.log_probabilities == pytest.approx(alone.log_probabilities, abs=1e-4)


def test_memory_that_runs_out_makes_the_groups_of_images_smaller_first(
    tiny_params: Params, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    scorer = Scorer(model, ImageCollator(processor, images, None, 8192), NEW, 4096, several_images=True)
    asked = {f"image-{number}": PROMPTS for number in range(4)}
    expected = {image: scorer.ask(image, PROMPTS) for image in asked}
    forward, read = type(model).forward, list[int]()

    def bounded(self: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        past = kwargs["past_key_values"].get_seq_length()
        read.append(past)
        if past > 2 * expected_prefix:
            raise torch.OutOfMemoryError("planted")
        return forward(self, input_ids, **kwargs)

    expected_prefix = len(scorer.collator.image_prefix("image-0")[0].prefix) + 60
    monkeypatch.setattr(type(model), "forward", bounded)
    for image, answers in scorer.ask_together(asked).items():
        for found, wanted in zip(answers, expected[image], strict=True):
            assert found.tokens == wanted.tokens
            assert found.log_probabilities == pytest.approx(wanted.log_probabilities, abs=1e-4)
    assert max(read) > 2 * expected_prefix, "it did run out"
    assert "continuing with" not in capsys.readouterr().err, "a pass of one image is as large as before"
