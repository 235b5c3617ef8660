"""Text-only baselines: what can be scored without the image."""
