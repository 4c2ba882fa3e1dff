"""Grading a class of untrusted notebooks."""
