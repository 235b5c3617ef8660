"""Metrics, intervals, paired tests, the audit."""
