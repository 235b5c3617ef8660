"""abo-vqa: do the options shown in training help a vision-language model, honestly measured."""

__version__ = "0.1.0"
