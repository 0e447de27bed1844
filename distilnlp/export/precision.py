"""A graph in int8, accepted only if it answers like the one in fp32; parts that cannot bear it stay in fp32."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distilnlp.export.runtimes import layer_of

logger = logging.getLogger(__name__)

MULTIPLY, LOOK_UP = ("MatMul", "Gemm"), "Gather"
EMBEDDINGS = "embeddings"  # the part that the tables are
Agree = Callable[[Path], float]
Batches = Sequence[Mapping[str, NDArray]]


@dataclass(frozen=True)
class Int8:
    """What became of a quantization.

    Attributes:
        agreement: with the fp32 graph, of what was accepted, or of the best that was tried.
        kept: parts that stayed in fp32: `embeddings`, and layers by their numbers.
        is_accepted: whether there is a file.
    """

    agreement: float
    kept: tuple[str, ...] = ()
    is_accepted: bool = True


def quantize(source: Path, target: Path, agree: Agree, least: float, calibration: Batches | None = None) -> Int8:
    """Write a graph with int8 weights by channel, by ONNX Runtime.

    The head stays in fp32: it takes no time. Where the answers then agree less than asked, the embeddings and each
    layer are tried alone in fp32, and parts are left in fp32 in the order of what that brought, until the rest is
    accepted; if nothing is, no file is left.

    Args:
        source: graph in fp32, by `export_graph`.
        target: of the file.
        agree: how well a graph agrees with the source, from 0 to 1.
        least: agreement that is asked, from 0 to 1.
        calibration: what the graph is given to find the ranges of its activations; None = they are found as they come.
    """
    parts = _parts(source)

    def without(kept: Sequence[str]) -> float:
        nodes = [node for name in parts if name not in kept for node in parts[name]]
        _write(source, target, nodes, calibration)
        return agree(target)

    best = without(())
    if best >= least:
        return Int8(best)
    logger.info("int8 gives %.1f%% of the answers of fp32, %.1f%% are asked: parts are tried", 100 * best, 100 * least)
    alone = {name: without([name]) for name in parts}
    kept: list[str] = []
    for name in sorted(parts, key=lambda part: -alone[part])[:-1]:
        kept.append(name)
        agreement = without(kept)
        best = max(best, agreement)
        if agreement >= least:
            return Int8(agreement, tuple(own for own in parts if own in kept))
    target.unlink(missing_ok=True)
    return Int8(best, is_accepted=False)


def _parts(source: Path) -> dict[str, list[str]]:
    """Return the names of the products with weights by their layer, and of what looks up embeddings."""
    import onnx

    graph = onnx.load(str(source), load_external_data=False).graph
    tables = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    found: dict[str, list[str]] = {EMBEDDINGS: []}
    for node in graph.node:
        layer, reads = layer_of(node), tables & {*node.input}
        if node.op_type in MULTIPLY and reads and layer:
            found.setdefault(layer, []).append(node.name)
        elif node.op_type == LOOK_UP and node.input[0] in reads and not layer:
            found[EMBEDDINGS].append(node.name)
    return found


def _write(source: Path, target: Path, in_int8: Sequence[str], calibration: Batches | None) -> None:
    """Write the graph with these products in int8."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(calibration or ())

        def get_next(self) -> Any:
            return next(self.batches, None)

    options: dict[str, Any] = {"op_types_to_quantize": [*MULTIPLY, LOOK_UP], "nodes_to_quantize": list(in_int8)}
    options |= {"per_channel": True, "weight_type": QuantType.QInt8}
    level, part = logging.getLogger().level, target.with_suffix(".part")
    logging.getLogger().setLevel(logging.ERROR)  # it warns of a step that helps graphs of other kinds
    try:
        if calibration is None:
            quantize_dynamic(str(source), str(part), **options)
        else:
            quantize_static(str(source), str(part), Reader(), activation_type=QuantType.QUInt8, **options)
    finally:
        logging.getLogger().setLevel(level)
    shutil.move(part, target)
