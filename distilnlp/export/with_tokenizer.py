"""An ONNX graph that reads text: the tokenizer inside, by onnxruntime-extensions, for runtimes without Python."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from distilnlp.errors import DistillationError, shortened
from distilnlp.export.graph import TOLERANCE, GraphModel

FILE = "model_with_tokenizer.onnx"
DOMAIN = "ai.onnx.contrib"
TEXT = "text"
OPERATOR = "BertTokenizer"  # the one of the package that cuts a text as a whole tokenizer does
EXTRA = "pip install 'distilnlp[extensions]'"


def add_tokenizer(source: Path, tokenizer: PreTrainedTokenizerBase, max_length: int, target: Path) -> None:
    """Write a graph that reads one text, or the two of a pair, as `text` of shape `[1]` or `[2]`.

    Args:
        source: graph of a model.
        tokenizer: of it, of BERT's kind.
        max_length: texts are cut after so many tokens.
        target: of the file.

    Raises:
        DistillationError: the package is missing, or has nothing like this tokenizer.
    """
    check_package()
    import onnx
    from onnx import TensorProto, helper

    node = _node(tokenizer)
    for name, value in (("max_length", max_length), ("truncation_strategy_name", "longest_first")):
        node.attribute.append(helper.make_attribute(name, value))
    model = onnx.load(str(source))
    named = {name: f"{name}_of_text" for name in node.output}
    node.output[:] = named.values()
    inputs = [value.name for value in model.graph.input]
    axes = helper.make_tensor("axes_of_text", TensorProto.INT64, [1], [0])
    steps = [node, *(helper.make_node("Unsqueeze", [named[name], axes.name], [name]) for name in inputs)]
    nodes = [*steps, *model.graph.node]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(axes)
    model.graph.input.append(helper.make_tensor_value_info(TEXT, TensorProto.STRING, ["texts"]))
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.save(model, str(target))


def check_package() -> None:
    """Refuse to go on without the package."""
    if find_spec("onnxruntime_extensions") is None:
        raise DistillationError(
            f"a tokenizer inside of a graph needs the package onnxruntime_extensions. Install it: {EXTRA}."
        )


def _node(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return the tokenizer as a node of a graph."""
    from onnxruntime_extensions import gen_processing_models

    try:
        graph, _ = gen_processing_models(tokenizer, pre_kwargs={})
        (node,) = graph.graph.node
        if node.op_type != OPERATOR:
            raise ValueError(f"its operator would be {node.op_type}")
    except Exception as error:  # of a tokenizer that it does not know it raises whatever it stumbles over
        raise DistillationError(
            f"a {type(tokenizer).__name__} cannot be put into a graph: {type(error).__name__}: "
            f"{shortened(str(error), 300)}. Leave export.tokenizer out: the graph then reads tokens."
        ) from error
    lowers = any(attribute.name == "do_lower_case" and attribute.i for attribute in node.attribute)
    given = getattr(tokenizer, "strip_accents", None)
    for attribute in node.attribute:
        if attribute.name == "strip_accents":  # unless it is said, BERT strips accents where it lowers
            attribute.i = int(lowers if given is None else given)
    return node


class TextGraph:
    """A graph with a tokenizer in ONNX Runtime.

    Args:
        path: of it.
        threads: of ONNX Runtime; None = as it sees fit.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import onnxruntime
        from onnxruntime_extensions import get_library_path

        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(get_library_path())
        if threads is not None:
            options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, *texts: str) -> list[Any]:
        """Return the outputs for a text, or for a pair."""
        return list(self.session.run(None, {TEXT: np.array(texts)}))


def share_alike(
    graph: TextGraph,
    plain: GraphModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    texts: Sequence[Sequence[str]],
) -> float:
    """Return the share of texts for which a graph with a tokenizer gives what the plain one does, within 1e-4.

    Args:
        graph: with the tokenizer inside.
        plain: the graph that it was made of.
        tokenizer: of the model.
        max_length: texts are cut after so many tokens.
        texts: one or two each.
    """
    alike = []
    for text in texts:
        read = tokenizer(*text, truncation=True, max_length=max_length, return_tensors="np")
        expected = plain.run({name: read[name].astype(np.int64) for name in plain.inputs})
        pairs = list(zip(graph(*text), expected.values(), strict=True))
        alike.append(all(own.shape == other.shape and np.abs(own - other).max() < TOLERANCE for own, other in pairs))
    return float(np.mean(alike))
