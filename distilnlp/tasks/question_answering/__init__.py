"""Extractive question answering: an answer is a part of a context."""
