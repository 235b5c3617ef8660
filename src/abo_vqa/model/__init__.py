"""Loading, adapters, prompts, training, scoring."""
