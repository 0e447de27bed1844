"""The plan of a run as text for a person."""

from transformers import PreTrainedModel

from distilnlp.data import PreparedData
from distilnlp.errors import shown
from distilnlp.runs.plan import Plan
from distilnlp.students import estimate_cost

MOST_LABELS = 10  # that a plan names


def describe(plan: Plan) -> str:
    """Return the plan as text for a person."""
    recipe, data = plan.recipe, plan.data
    student = plan.student
    lines = [
        *_teacher_lines(plan),
        f"student   {_shape(student)}{_times_smaller(plan)}",
        f"task      {plan.task.name}{labels_text(data)}",
        f"train     {len(data.train):,} rows, {len(data.labelled):,} of them with a label",
        f"test      {len(data.test):,} rows",
        f"text      cut after {plan.max_length} tokens" + (_teachers_view(plan) if plan.has_two_views else ""),
        f"baseline  {'the same student on the labels alone' if recipe.baseline else 'none (baseline: true adds it)'}",
        f"output    {recipe.output}",
    ]
    first = plan.members[0].model if plan.members else None
    cost = estimate_cost(student, first, length=plan.max_length)
    return "\n".join([*lines, "", str(cost)])


def _teacher_lines(plan: Plan) -> list[str]:
    """Return a line for each model of the teacher, or one for the columns of its answers."""
    config = plan.recipe.teacher
    if config.columns:
        names = config.columns
        if len(names) > 1:  # in which order they are meant is seen here alone
            names = tuple(f"{name} = {label}" for name, label in zip(names, plan.data.label_names, strict=False))
        return [f"teacher   the column {', '.join(names)} of the data ({config.form})"]
    training = (", to be fine-tuned first" if config.finetune else "") + (
        f", once without each of {config.folds} folds" if config.folds else ""
    )
    return [f"teacher   {member.source}: {_shape(member.model)}{training}" for member in plan.members]


def _times_smaller(plan: Plan) -> str:
    whole = sum(member.model.num_parameters() for member in plan.members)
    return f", {whole / plan.student.num_parameters():.1f} times smaller" if whole else ""


def _teachers_view(plan: Plan) -> str:
    """Return how the teacher reads the rows."""
    reads = ", ".join(plan.recipe.teacher.text_columns or ["text"])
    has_own = any(member.tokenizer is not plan.tokenizer for member in plan.members)
    lengths = ", ".join(str(length) for length in dict.fromkeys(member.max_length for member in plan.members))
    return f"; the teacher reads {reads} {'by its own tokenizer ' if has_own else ''}cut after {lengths}"


def labels_text(data: PreparedData) -> str:
    """Return what each label id of the data means, the first of many, for a plan; nothing where there are no names."""
    names = data.id_names or data.label_names
    meaning = ", ".join(f"{index} = {shown(name, 50)[1:-1]}" for index, name in enumerate(names[:MOST_LABELS]))
    more = f", … ({len(names):,} labels)" if len(names) > MOST_LABELS else ""
    return f", labels {meaning}{more}" if names else ""


def _shape(model: PreTrainedModel) -> str:
    layers, width = (getattr(model.config, name, None) for name in ("num_hidden_layers", "hidden_size"))
    size = f"{layers} layers x {width}, " if layers and width else ""
    return f"{model.config.model_type}, {size}{model.num_parameters() / 1e6:.1f}M parameters"
