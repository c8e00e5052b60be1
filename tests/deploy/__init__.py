"""Dockerfile, compose file, chart and operations page: read, rendered and held against the code."""
