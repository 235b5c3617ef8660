"""Asking a model every test question under every condition."""
