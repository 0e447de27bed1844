"""Masked language modelling: words of a text are guessed."""
