"""Planned differences between models, and the verdict."""
