"""Corpora: manifests, loaders, splits, and their synthetic twins."""
