"""PaliGemma and PaliGemma 2: image and question see each other in both directions."""

from abo_vqa.model.families.family import Family


class PaliGemma(Family):
    """What it computes for an image depends on the question, so that every question takes a sequence of its own."""

    types = ("paligemma",)
    shares_image = False
    answer_type = 1  # an answer sees the tokens before it
    template = (
        "{%- for message in messages -%}{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
        "{%- for part in message['content'] -%}{{- '<image>' if part['type'] == 'image' else part['text'] -}}"
        "{%- endfor -%}{%- endif -%}{{- eos_token if message['role'] == 'assistant' else '' -}}{%- endfor -%}"
    )
