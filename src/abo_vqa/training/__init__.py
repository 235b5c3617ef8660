"""QLoRA training of one arm."""
