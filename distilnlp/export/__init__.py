"""Students for other runtimes: graphs that give the same logits, and one in int8 that agrees with them."""

from distilnlp.export.config import USUAL, ExportConfig
from distilnlp.export.graph import GraphModel
from distilnlp.export.precision import Int8, quantize
from distilnlp.export.runtimes import EXECUTORCH, ONNX, OPENVINO, Runtime, export_graph, inputs_of

__all__ = [
    "EXECUTORCH",
    "ONNX",
    "OPENVINO",
    "USUAL",
    "ExportConfig",
    "GraphModel",
    "Int8",
    "Runtime",
    "export_graph",
    "inputs_of",
    "quantize",
]
