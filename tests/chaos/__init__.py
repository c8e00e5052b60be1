"""Breaks the service on purpose, and then asks whether anything was lost: `python -m tests.chaos --help`."""
