"""What each supported family calls its layers, and what its config says layer by layer."""

from dataclasses import dataclass

from distilnlp.errors import DistillationError, did_you_mean


@dataclass(frozen=True)
class Family:
    """Where one family keeps its layers.

    Attributes:
        layers: path of the layer list inside the base model.
        per_layer_settings: config entries that hold one value a layer; they are cut with the layers.
        pattern_settings: config entries that derive a per-layer setting from the layer number; untrue once a layer
            changes its number.
        first_layer_is_special: layer 0 is built differently from the others, so no other layer can take its place.
    """

    layers: str
    per_layer_settings: tuple[str, ...] = ()
    pattern_settings: tuple[str, ...] = ()
    first_layer_is_special: bool = False


FAMILIES = {
    "bert": Family("encoder.layer"),
    "roberta": Family("encoder.layer"),
    "electra": Family("encoder.layer"),
    "mpnet": Family("encoder.layer"),
    "distilbert": Family("transformer.layer"),
    "modernbert": Family(
        "layers",
        per_layer_settings=("layer_types",),
        pattern_settings=("global_attn_every_n_layers",),
        first_layer_is_special=True,
    ),
}


def find_family(model_type: str) -> Family:
    """Return the family of a config's `model_type`.

    Raises:
        DistillationError: if the family is not supported.
    """
    if model_type not in FAMILIES:
        raise DistillationError(
            f"A student can be cut from the families {', '.join(FAMILIES)}; got {model_type!r}."
            f"{did_you_mean(model_type, FAMILIES)} Choose a teacher of one of these families, or build the student "
            "yourself and pass the model."
        )
    return FAMILIES[model_type]
