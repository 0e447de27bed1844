"""What each supported family calls its parts, and what its config says layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError


@dataclass(frozen=True)
class Family:
    """Where one family keeps its layers and what is in them. The paths after the first are inside a layer.

    Attributes:
        layers: path of the layer list inside the base model.
        attention: module whose forward returns the attention's output and, under eager attention, its map.
        qkv: the linear layers that give queries, keys and values; one name where they are fused, in that order.
        attention_output: the linear layer behind the attention.
        ffn: the two linear layers of the feed-forward network.
        ffn_size: config entry with the number of its neurons.
        position_projections: further linear layers with the same heads as queries and keys, which read positions.
        head_tables: embeddings of the base model with one column for each head, which all layers share.
        embedding_projection: linear layer of the base model that takes embeddings to the hidden size; it is there only
            where the two sizes differ.
        scores_are_qk: the attention scores are q·k/√d alone; False where positions enter them too.
        per_layer_settings: config entries that hold one value a layer; they are cut with the layers.
        pattern_settings: config entries that derive a per-layer setting from the layer number; untrue once a layer
            changes its number.
        first_layer: what of layer 0 no other layer has, by the config, so that none can take its place; None = nothing.
    """

    layers: str
    attention: str
    qkv: tuple[str, ...]
    attention_output: str
    ffn: tuple[str, str]
    ffn_size: str = "intermediate_size"
    position_projections: tuple[str, ...] = ()
    head_tables: tuple[str, ...] = ()
    embedding_projection: str | None = None
    scores_are_qk: bool = True
    per_layer_settings: tuple[str, ...] = ()
    pattern_settings: tuple[str, ...] = ()
    first_layer: Callable[[PreTrainedConfig], str | None] = lambda config: None


BERT = Family(
    "encoder.layer",
    attention="attention.self",
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    ffn=("intermediate.dense", "output.dense"),
)

FAMILIES = {
    "bert": BERT,
    # Of the same parts: what differs is how positions are counted, and further embeddings.
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "data2vec-text", "ernie"), BERT),
    "electra": replace(BERT, embedding_projection="embeddings_project"),
    "mpnet": Family(
        "encoder.layer",
        attention="attention.attn",
        qkv=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        attention_output="attention.attn.o",
        ffn=("intermediate.dense", "output.dense"),
        head_tables=("encoder.relative_attention_bias",),
        scores_are_qk=False,  # a relative position bias is added
    ),
    "distilbert": Family(
        "transformer.layer",
        attention="attention",
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attention_output="attention.out_lin",
        ffn=("ffn.lin1", "ffn.lin2"),
        ffn_size="hidden_dim",
    ),
    "deberta-v2": Family(
        "encoder.layer",
        attention="attention.self",
        qkv=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
        attention_output="attention.output.dense",
        ffn=("intermediate.dense", "output.dense"),
        position_projections=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
        embedding_projection="embeddings.embed_proj",
        scores_are_qk=False,  # content and position are disentangled
        first_layer=lambda config: (
            "has a convolution beside it" if getattr(config, "conv_kernel_size", 0) > 0 else None
        ),
    ),
    "modernbert": Family(
        "layers",
        attention="attn",
        qkv=("attn.Wqkv",),
        attention_output="attn.Wo",
        ffn=("mlp.Wi", "mlp.Wo"),
        scores_are_qk=False,  # positions rotate q and k
        per_layer_settings=("layer_types",),
        pattern_settings=("global_attn_every_n_layers",),
        first_layer=lambda config: "has no norm before its attention",
    ),
}


def find_family(model_type: str) -> Family:
    """Return the family of a config's `model_type`, which must be one of these."""
    if model_type not in FAMILIES:
        raise DistillationError(
            f"A student can be cut from the families {', '.join(FAMILIES)}; got {model_type!r}. Choose a teacher of "
            "one of these, or give a student of its own: `student.model` in a recipe, any model in Python."
        )
    return FAMILIES[model_type]
