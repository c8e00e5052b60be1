"""The metrics, on arrays whose answer is known."""
