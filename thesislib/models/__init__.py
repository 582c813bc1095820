"""Models: encoders and their pretrained weights."""
