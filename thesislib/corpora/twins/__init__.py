"""Synthetic twins: corpora with planted, documented effects in the layout of the real ones."""
