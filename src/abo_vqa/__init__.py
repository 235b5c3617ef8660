"""abo-vqa: measure whether showing answer options in training helps a vision-language model."""

__version__ = "0.1.0"
