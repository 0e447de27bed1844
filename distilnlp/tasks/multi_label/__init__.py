"""Multi-label classification: each label of a text is a yes-or-no decision."""
