"""A modality of single numbers: small enough to train in a second, and able to misbehave when it is told to."""
