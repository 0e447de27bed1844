"""Multiple choice: one of several texts is right."""
