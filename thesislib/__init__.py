"""thesislib: corpora, signals, models, learning, evaluation and records for the living thesis."""

__version__ = "0.1.0"
