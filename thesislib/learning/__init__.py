"""Learning: features, probes and training."""
