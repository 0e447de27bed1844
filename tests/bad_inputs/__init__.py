"""Inputs that are wrong, or look wrong, as data: each with what must happen to it."""
