"""Metrics on answers; no model is asked here."""
