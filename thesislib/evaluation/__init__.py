"""Evaluation: metrics, intervals and tests, computed from predictions alone."""
