"""The plan of a run as text for a person."""

from textwrap import TextWrapper

from transformers import PreTrainedModel

from distilnlp.data import PreparedData
from distilnlp.errors import shown
from distilnlp.runs.plan import Plan

MOST_LABELS = 10  # that a plan names
WIDTH, INDENT = 79, " " * 10


def describe(plan: Plan) -> str:
    """Return the plan as text for a person."""
    recipe, config, data, student, members = plan.recipe, plan.recipe.teacher, plan.data, plan.student, plan.members
    if config.columns:
        names = config.columns
        if len(names) > 1:  # in which order they are meant is seen here alone
            names = tuple(f"{name} = {label}" for name, label in zip(names, data.label_names, strict=False))
        teachers = [f"the column {', '.join(names)} of the data ({config.form})"]
    else:
        training = ", to be fine-tuned first" if config.finetune else ""
        training += f", once without each of {config.folds} folds" if config.folds else ""
        teachers = [f"{member.source}: {_shape(member.model)}{training}" for member in members]
    whole = sum(member.model.num_parameters() for member in members)
    times = f", {whole / student.num_parameters():.1f} times smaller" if whole else ""
    speed = f", about {plan.cost.speed_up:.1f} times as fast" if plan.cost.speed_up is not None else ""
    view = ""
    if plan.has_two_views:
        own = "by its own tokenizer " if any(member.tokenizer is not plan.tokenizer for member in members) else ""
        lengths = ", ".join(map(str, dict.fromkeys(member.max_length for member in members)))
        view = f"; the teacher reads {', '.join(config.text_columns or ['text'])} {own}cut after {lengths}"
    lines = [
        *(f"teacher   {teacher}" for teacher in teachers),
        f"student   {_shape(student)}, {plan.cost.bytes / 1e6:.1f} MB{times}{speed}",
        f"task      {plan.task.name}{labels_text(data)}",
        f"train     {len(data.train):,} rows, {len(data.labelled):,} of them with a label",
        f"test      {len(data.test):,} rows{', without labels: measured by the teacher' * data.are_unlabelled}",
        *(f"left out  {said}" for said in data.left_out),
        f"text      cut after {plan.max_length} tokens{view}",
        f"baseline  {'the same student on the labels alone' if recipe.baseline else 'none (baseline: true adds it)'}",
        f"output    {recipe.output}",
    ]
    return "\n".join(map(wrapped, lines))


def wrapped(line: str) -> str:
    """Return a line of the plan, what it is about and then a text, as lines of at most 79 columns."""
    wrap = TextWrapper(WIDTH - len(INDENT), break_long_words=False, break_on_hyphens=False)
    return line[: len(INDENT)] + f"\n{INDENT}".join(wrap.wrap(line[len(INDENT) :]))


def labels_text(data: PreparedData) -> str:
    """Return what each label id of the data means, the first of many, for a plan; nothing where there are no names."""
    names = data.id_names or data.label_names
    meaning = ", ".join(f"{index} = {shown(name, 50)[1:-1]}" for index, name in enumerate(names[:MOST_LABELS]))
    more = f", … ({len(names):,} labels)" if len(names) > MOST_LABELS else ""
    return f", labels {meaning}{more}" if names else ""


def _shape(model: PreTrainedModel) -> str:
    layers, width = (getattr(model.config, name, None) for name in ("num_hidden_layers", "hidden_size"))
    size = f"{layers} layer{'s' * (layers != 1)} x {width}, " if layers and width else ""
    return f"{model.config.model_type}, {size}{model.num_parameters() / 1e6:.1f}M parameters"
