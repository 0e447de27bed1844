"""Recipes: what a YAML file says, and what it leaves open. Nothing is imported here: its text is read without torch."""
