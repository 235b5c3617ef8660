"""abo-vqa: measure whether showing answer options in training helps a vision-language model."""

from abo_vqa.common.processor import use_portable_kernels

# Here, because numpy and torch read the environment when they are imported.
use_portable_kernels()
