"""Models of transformers: loading, families, what they give beside their logits, what tells one from another."""
