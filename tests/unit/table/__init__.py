"""Tests of the table modality."""
