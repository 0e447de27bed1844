"""Scripts that measure what the documentation states."""
