"""What sharing an image has to know of a model's family; the defaults are what most families do."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutputWithPooling

Tensors = dict[str, torch.Tensor]
FEATURES = "features"


class Family:
    """A family, for one model's configuration.

    types: the configurations' model_type. shares_image: whether what the model computes for an image is independent of
    the text behind it. answer_type: token type of an answer's tokens. template: chat template where the folder has
    none. processor: of a family that takes videos too; None: as AutoProcessor finds it.
    """

    types: ClassVar[tuple[str, ...]] = ()
    shares_image = True
    answer_type = 0
    template: ClassVar[str | None] = None
    processor: ClassVar[Any] = None

    def __init__(self, config: Any) -> None:
        self.config = config
        # The token in whose places the image's features stand.
        self.image_token: int = getattr(config, "image_token_id", -1)

    def load_processor(self, source: Mapping[str, Any], fit: str) -> Any:
        """Return the processor, with images processed by Pillow.

        source: arguments of from_pretrained; fit: model.image.
        """
        if self.processor is None:
            return AutoProcessor.from_pretrained(**source, backend="pil", trust_remote_code=False)
        name, commit = source["pretrained_model_name_or_path"], source["revision"]
        saved, _ = self.processor.get_processor_dict(name, revision=commit)
        images = AutoImageProcessor.from_pretrained(**source, backend="pil", trust_remote_code=False)
        parts = [images, AutoTokenizer.from_pretrained(**source, trust_remote_code=False), _NoVideos()]
        kind: Any = type(self.processor.__name__, (_WithoutVideos, self.processor), {})
        return kind.from_args_and_dict(parts, saved)

    def image_tokens(self) -> tuple[int, int]:
        """Return the tokens of a photograph of 256 pixels, ABO's small ones, on the mean and at most."""
        vision = self.config.vision_config
        tokens = (vision.image_size // vision.patch_size) ** 2
        return tokens, tokens

    def positions(self, prefix: Sequence[int], inputs: Tensors) -> torch.Tensor:
        """Return the positions of a prompt's tokens up to the end of its image, of shape (axes, length).

        inputs: the image's, without pixels. The text goes on behind the largest.
        """
        return torch.arange(len(prefix))[None]

    def blocks(self, prefix: Sequence[int]) -> torch.Tensor | None:
        """Return for each token of the prefix a block, whose tokens see each other in both directions, or -1.

        None: every token sees those before it, and no other.
        """
        return None

    def masks(self, seen: torch.Tensor, asking: torch.Tensor, asked: torch.Tensor, dtype: torch.dtype) -> Any:
        """Return the model's attention mask, which is added to the scores.

        seen: which tokens attend to which, of shape (sequences, 1, asking, asked); asking, asked: their positions, of
        shape (sequences, asking) or (sequences, axes, asking). Raises ValueError for a window and several axes.
        """
        text = self.config.get_text_config()
        window, kinds = getattr(text, "sliding_window", None), set(getattr(text, "layer_types", None) or ())
        if not window or kinds == {"full_attention"}:
            return _added(seen, dtype)
        if asking.dim() == 3:
            raise ValueError(
                "it has attention to a window, and positions of several axes, which do not tell how far apart"
            )
        near = _added(seen & (asking[:, None, :, None] - asked[:, None, None, :] < window), dtype)
        return {"full_attention": _added(seen, dtype), "sliding_attention": near} if len(kinds) > 1 else near

    def features(self, model: Any, inputs: Tensors) -> Tensors:
        """Return an image's features, as `encoded` takes them; model: without its adapters; inputs: the processor's."""
        return self.parts(self._encode(model, inputs))

    def _encode(self, model: Any, inputs: Tensors) -> Any:
        known = inspect.signature(model.model.get_image_features).parameters
        given = {name: value.to(model.device) for name, value in inputs.items() if name in known}
        given["pixel_values"] = given["pixel_values"].to(model.dtype)
        return model.model.get_image_features(**given, return_dict=True)

    def parts(self, found: Any) -> Tensors:
        """Return what the encoder found in one image by name."""
        pooled = found.pooler_output
        # Of shape (tokens, hidden size), or (tiles, tokens of each, hidden size).
        return {FEATURES: pooled if isinstance(pooled, torch.Tensor) else pooled[0]}

    def encoded(self, images: Sequence[Tensors]) -> Any:
        """Return what the model takes instead of pixels; images: of each, its features."""
        each = [image[FEATURES] for image in images]
        pooled: Any = torch.cat(each) if each[0].dim() == 3 else each  # annotated as one tensor
        return BaseModelOutputWithPooling(pooler_output=pooled)


class _NoVideos(dict[str, Any]):
    """In place of a processor of videos, which torchvision would be needed for; saved as nothing."""

    num_frames, fps, _auto_class = None, None, None
    model_input_names: ClassVar[list[str]] = []

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        pass


class _WithoutVideos:
    """Lets a processor be made with _NoVideos."""

    def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
        if name != "video_processor":
            super().check_argument_for_proper_class(name, argument)  # type: ignore[misc]


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Once, where each layer would make and keep a copy of its own from a boolean mask.
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(seen.logical_not(), -torch.inf)
