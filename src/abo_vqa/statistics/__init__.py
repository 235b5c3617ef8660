"""Intervals and tests that account for correlated questions, and how figures are printed."""
