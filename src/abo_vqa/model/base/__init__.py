"""The base model: its weights, processor and prompts."""
