"""Intervals and tests that account for correlated questions, and number formatting."""
