"""Build a student from its teacher: fewer layers, narrower layers, or another family."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.models.families import find_family
from distilnlp.signals import Batch
from distilnlp.students.blueprint import Blueprint, assemble, blueprint_of, keep_layers
from distilnlp.students.distilbert import bert_to_distilbert
from distilnlp.students.given_models import Source, as_model
from distilnlp.students.layers import LayerStrategy, check_whole, choose_layers
from distilnlp.students.width import choose_width, narrow, width_of

# (teacher's family, student's family): how to get from one to the other.
CONVERSIONS: dict[tuple[str, str], Callable[[Blueprint], Blueprint]] = {("bert", "distilbert"): bert_to_distilbert}


def build_student(
    teacher: PreTrainedModel | Source,
    *,
    layers: Sequence[int] | None = None,
    num_layers: int | None = None,
    layer_strategy: LayerStrategy = "uniform",
    hidden_size: int | None = None,
    num_attention_heads: int | None = None,
    intermediate_size: int | None = None,
    sample: Sequence[Batch] | None = None,
    model_type: str | None = None,
) -> PreTrainedModel:
    """Build a student whose every parameter comes from the teacher, as DistilBERT was made (arXiv 1910.01108).

    The student has the teacher's head, labels, problem type, dropout, dtype, device and attention implementation. It
    is a separate model: training it leaves the teacher as it is. It comes in eval mode with nothing frozen, its config
    states its real depth, and its name is empty, so that nothing takes it for the teacher's checkpoint.

    A narrower student keeps whole heads and whole neurons, those that matter most on the sample (`head_importance`,
    `neuron_importance`); its hidden states are one projection of the teacher's, fitted to those of all layers
    (principal components, arXiv 2401.15024). The layers that read what was cut are fitted by least squares to what they
    gave on the sample (arXiv 1707.06168). All is ranked and fitted on the full teacher, before layers are dropped.

    With `model_type="distilbert"` a BERT teacher gives a DistilBERT. DistilBERT has no token types; row 0 is folded
    into its position embeddings, so that at full depth its hidden states are the teacher's as long as all token types
    are 0 (the second text of a pair has type 1). Its logits for whole sequences are not the teacher's: the pooler
    becomes `pre_classifier`, whose activation is a ReLU where BERT has a tanh. While training it has no dropout after
    the attention's output, and before a token head it uses the hidden dropout.

    Args:
        teacher: a model of a supported family (`distilnlp.families.FAMILIES`) with any head, or the folder or Hub id
            of one, which is loaded with the head that was saved.
        layers: teacher layers to keep, 0-based, strictly increasing.
        num_layers: how many layers to keep, chosen by `layer_strategy`. Give this or `layers`; a change of family or
            width may go without both and keeps all layers.
        layer_strategy: "uniform", "first" or "last"; see `select_layers`.
        hidden_size: width of the hidden states. A head stays as wide as the teacher's, so this and the number of heads
            follow from each other; give either.
        num_attention_heads: heads in each layer.
        intermediate_size: neurons of each feed-forward network.
        sample: tokenised batches of text of the kind that the student will read, with labels if there are any; needed
            for another width than the teacher's. A few hundred texts are enough.
        model_type: family of the student; None or the teacher's own keeps the teacher's class.

    Raises:
        DistillationError: if the layers, the strategy, the width, the sample, the family or a setting of the teacher
            do not allow it.
    """
    teacher = as_model(teacher)
    sizes = {
        "hidden_size": hidden_size,
        "num_attention_heads": num_attention_heads,
        "intermediate_size": intermediate_size,
    }
    check_whole(num_layers=num_layers, layers=layers, **sizes)
    depth = _depth_of(teacher)
    convert = _find_conversion(teacher.config.model_type, model_type)
    may_keep_all = convert is not None or any(size is not None for size in sizes.values())
    chosen = choose_layers(depth, layers, num_layers, layer_strategy, all_by_default=may_keep_all)
    width = choose_width(width_of(teacher.config), *sizes.values())
    blueprint = keep_layers(narrow(blueprint_of(teacher), teacher, width, sample), chosen)
    if convert is not None:
        blueprint = convert(blueprint)
    return assemble(blueprint, teacher.device)


def _depth_of(teacher: PreTrainedModel) -> int:
    """Count the teacher's layers, which a model that was cut by hand has fewer of than its config says."""
    family = find_family(teacher.config.model_type)
    if family.has_shared_layers:
        return teacher.config.num_hidden_layers
    depth = sum(1 for _ in teacher.base_model.get_submodule(family.layers).children())
    if depth != teacher.config.num_hidden_layers:
        raise DistillationError(
            f"The teacher's config must state its real depth; it says {teacher.config.num_hidden_layers} layers and "
            f"the model has {depth}. Cut the teacher's layers with build_student, or correct its config."
        )
    return depth


def _find_conversion(own_type: str, model_type: str | None) -> Callable[[Blueprint], Blueprint] | None:
    """Return the step that changes the family, or None where the student stays in the teacher's."""
    if model_type is None or model_type == own_type:
        return None
    if (own_type, model_type) not in CONVERSIONS:
        possible = [own_type] + [student for teacher, student in CONVERSIONS if teacher == own_type]
        raise DistillationError(
            f"A {own_type} teacher can give a student of model_type {' or '.join(possible)}; got {model_type!r}. "
            "Choose one of these, or leave model_type out."
        )
    return CONVERSIONS[own_type, model_type]
