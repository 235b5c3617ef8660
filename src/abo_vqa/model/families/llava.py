"""LLaVA 1.5 and its kin, LLaVA-Gemma among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlavaProcessor
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from abo_vqa.model.families.family import Family


class Llava(Family):
    """Its processor is assembled from its parts, for that of the published LLaVA-Gemma cannot be loaded.

    Without patch size and the extra class token the image would be one token short.
    """

    types = ("llava",)
    template = Path(__file__).with_name("llava.jinja").read_text(encoding="utf-8")

    def load_processor(self, source: Mapping[str, Any], fit: str) -> Any:
        """Return the processor; fit: how a photograph becomes square."""
        tokenizer = AutoTokenizer.from_pretrained(**source, trust_remote_code=False)
        name, commit = source["pretrained_model_name_or_path"], source["revision"]
        saved, _ = LlavaProcessor.get_processor_dict(name, revision=commit)
        vision = self.config.vision_config
        return LlavaProcessor(
            image_processor=LlavaImageProcessorPil.from_pretrained(**source, **image_settings(fit, vision.image_size)),
            tokenizer=tokenizer,
            patch_size=vision.patch_size,
            vision_feature_select_strategy=self.config.vision_feature_select_strategy,
            num_additional_image_tokens=1,
            image_token=tokenizer.convert_ids_to_tokens(self.image_token),
            chat_template=saved.get("chat_template") or tokenizer.chat_template,
        )


def image_settings(fit: str, side: int) -> dict[str, Any]:
    """Return the image processor's settings that bring a photograph to `side` x `side` pixels.

    pad: to a square with bars of the mean color, as LLaVA was trained; crop: the middle of it, as CLIP's processor
    does; resize: squeezed.
    """
    square = {"height": side, "width": side}
    size = {"shortest_edge": side} if fit == "crop" else square
    return {"do_pad": fit == "pad", "do_center_crop": fit == "crop", "size": size, "crop_size": square}
