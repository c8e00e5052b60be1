"""Tests of the images modality."""
