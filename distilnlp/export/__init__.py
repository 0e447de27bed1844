"""Students for other runtimes: an ONNX graph that gives the same logits, and one in int8 that agrees with it."""

from distilnlp.export.graph import SessionModel, export_graph
from distilnlp.export.precision import Int8, quantize

__all__ = ["Int8", "SessionModel", "export_graph", "quantize"]
