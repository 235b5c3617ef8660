"""abo-vqa: measure whether showing answer options in training helps a vision-language model."""
