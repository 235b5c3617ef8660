"""Metrics of answers; no model runs here."""
