"""Training a student: the Trainer, its arguments, what is logged, checkpoints."""
