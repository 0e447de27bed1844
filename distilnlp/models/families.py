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
        qkv: the linear layers that give queries, keys and values; one name where they are fused, in that order. None:
            they and the maps cannot be captured, and the layers cannot be made narrower.
        attention_output: the linear layer behind the attention.
        ffn: the two linear layers of the feed-forward network; None where it cannot be made narrower, nor the model.
        ffn_gates: further linear layers beside the first of these, of as many neurons.
        ffn_size: config entry with the number of its neurons.
        position_projections: further linear layers with the same heads as queries and keys, which read positions.
        head_tables: embeddings of the base model with one column for each head, which all layers share.
        embedding_projection: linear layer of the base model that takes embeddings to the hidden size; it is there only
            where the two sizes differ.
        scores_are_qk: the attention scores are q·k/√d alone; False where positions enter them too.
        per_layer_settings: config entries that hold one value a layer; they are cut with the layers.
        pattern_settings: config entries that derive a per-layer setting from the layer number; untrue once a layer
            changes its number.
        has_shared_layers: whether all layers are one, run again and again: depth is a number, and no choice of layers.
        first_layer: what of layer 0 no other layer has, by the config, so that none can take its place; None = nothing.
    """

    layers: str
    attention: str
    qkv: tuple[str, ...] = ()
    attention_output: str = ""
    ffn: tuple[str, str] | None = None
    ffn_size: str = "intermediate_size"
    ffn_gates: tuple[str, ...] = ()
    position_projections: tuple[str, ...] = ()
    head_tables: tuple[str, ...] = ()
    embedding_projection: str | None = None
    scores_are_qk: bool = True
    per_layer_settings: tuple[str, ...] = ()
    pattern_settings: tuple[str, ...] = ()
    has_shared_layers: bool = False
    first_layer: Callable[[PreTrainedConfig], str | None] = lambda config: None

    @property
    def activation_input(self) -> str:
        """The linear layer whose outputs, the first ones if it gives a gate too, the activation function reads."""
        assert self.ffn is not None  # of every family with `qkv`
        return (*self.ffn_gates, self.ffn[0])[0]


# What such encoders are called by is `llama`'s: rotary positions, and a gate in the feed-forward network.
GATED = Family(
    "layers",
    attention="self_attn",
    qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_output="self_attn.o_proj",
    ffn=("mlp.up_proj", "mlp.down_proj"),
    ffn_gates=("mlp.gate_proj",),
    scores_are_qk=False,  # positions rotate q and k
)
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
    # The same with the norm before attention and feed-forward network, so that queries read normalised states.
    **dict.fromkeys(("megatron-bert", "xlm-roberta-xl", "roberta-prelayernorm"), BERT),
    "roformer": replace(BERT, scores_are_qk=False, embedding_projection="embeddings_project"),
    **dict.fromkeys(("nomic_bert", "gte"), GATED),
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
    # Of these layers can be left out, but nothing inside a layer is cut or captured: their attention is another one, or
    # its parts are not of the sizes that the config names.
    "albert": Family("encoder.albert_layer_groups.0.albert_layers", attention="attention", has_shared_layers=True),
    **dict.fromkeys(
        ("big_bird", "convbert", "deberta", "mobilebert", "rembert"), Family("encoder.layer", attention="attention")
    ),
    "longformer": Family("encoder.layer", attention="attention", per_layer_settings=("attention_window",)),
    **dict.fromkeys(("eurobert", "jina_embeddings_v3"), Family("layers", attention="self_attn")),
    "xlnet": Family("layer", attention="rel_attn", ffn_size="d_inner"),
}


def num_neurons(config: PreTrainedConfig) -> int:
    """Return how many neurons the feed-forward network of a layer has; 0 where the family does not say."""
    family = FAMILIES.get(config.model_type)
    return int(getattr(config, family.ffn_size)) if family and family.ffn else 0


def find_family(model_type: str) -> Family:
    """Return the family of a config's `model_type`, which must be one of these."""
    if model_type not in FAMILIES:
        raise DistillationError(
            f"A student can be cut from the families {', '.join(FAMILIES)}; got {model_type!r}. Choose a teacher of "
            "one of these, or give a student of its own: `student.model` in a recipe, any model in Python. Losses on "
            "logits and on hidden states work with every encoder."
        )
    return FAMILIES[model_type]


def find_narrowable(model_type: str) -> Family:
    """Return the family of a model whose layers can be made narrower."""
    family = find_family(model_type)
    if family.ffn is None:
        able = [name for name, own in FAMILIES.items() if own.ffn is not None]
        raise DistillationError(
            f"A narrower student can be cut from the families {', '.join(able)}; got {model_type!r}, of which layers "
            "and vocabulary can be cut. Leave hidden_size, num_attention_heads and intermediate_size out, or give a "
            "student of its own."
        )
    return family
