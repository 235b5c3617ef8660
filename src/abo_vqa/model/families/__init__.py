"""Families of vision-language models: one file each, with only what sharing an image has to know of it."""
