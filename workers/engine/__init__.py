"""The adversarial engine: pure torch. Knows tensors; nothing of files, jobs or modalities."""
