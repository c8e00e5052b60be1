"""One file a model, each run as a program of its own, in the environment that it needs. All take the same arguments."""
