"""Single-label classification: a text has one class."""
