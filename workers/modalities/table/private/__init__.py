"""Training with differential privacy: statistics with noise in the codec's place, steps with noise in training's."""
