"""The models that a run's teacher is made of, each with a tokenizer and an order of the labels of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError
from distilnlp.labels import label_order
from distilnlp.recipe.sections import Recipe
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.models import named
from distilnlp.runs.reading import same_vocabulary
from distilnlp.signals import ANSWER, MEMBER, label_names_of
from distilnlp.tasks import Task
from distilnlp.teachers import ColumnTeacher
from distilnlp.teachers.ensemble import check_average


@dataclass(frozen=True)
class Member:
    """One model of a run's teacher, and how it reads the rows.

    Attributes:
        source: local folder or Hub id.
        model: its shape, with a new head if it is to be fine-tuned first; its weights are loaded where they are needed.
        tokenizer: the student's or the first member's object, where it splits texts alike.
        max_length: of its texts, in tokens.
        prefix: of its columns in the teacher's rows; none where it reads what the first member reads.
    """

    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    prefix: str = ""

    @property
    def view(self) -> tuple[PreTrainedTokenizerBase, int]:
        """What its encoding of a row depends on."""
        return self.tokenizer, self.max_length


def make_members(
    recipe: Recipe,
    task: Task,
    models: Sequence[PreTrainedModel],
    tokenizers: Sequence[PreTrainedTokenizerBase],
    student_tokenizer: PreTrainedTokenizerBase,
    student_length: int,
) -> tuple[Member, ...]:
    """Return the members of a run's teacher, in the order of the recipe.

    Args:
        recipe: names them.
        task: of all.
        models: loaded, their labels checked.
        tokenizers: one a model.
        student_tokenizer: of the student.
        student_length: of the student's texts, in tokens.

    Raises:
        DistillationError: weights or a mean that cannot be; a member cannot read texts of that length; or one has a
            tokenizer of its own, and the task is not of whole texts.
    """
    config, own_length = recipe.teacher, recipe.teacher.max_length
    if len(models) > 1:
        check_average(config.average, config.by_confidence, task)
    key = "teacher.max_length" if own_length else "data.max_length"
    members: list[Member] = []
    known = [student_tokenizer]
    for index, (source, model, own) in enumerate(zip(config.models, models, tokenizers, strict=True)):
        tokenizer = next((other for other in known if same_vocabulary(own, other)), own)
        try:
            readable = readable_length(own_length or recipe.data.max_length, tokenizer, model, key)
        except DistillationError as error:
            raise DistillationError(f"teacher {source}: {error}") from error
        member = Member(source, model, tokenizer, readable if own_length else min(readable, student_length))
        reads_alike = not members or member.view == members[0].view
        members.append(member if reads_alike else Member(source, model, *member.view, prefix=f"{MEMBER}{index}_"))
        known.append(tokenizer)
    if any(member.prefix for member in members) and not task.rows.are_texts:
        raise DistillationError(
            f"the models of teacher.model have tokenizers or lengths of their own, which a recipe aligns for tasks of "
            f"whole texts, but the task is {task.name}. Use models of one tokenizer, or give the rows every encoding "
            "in Python (docs/teachers.md)."
        )
    return tuple(members)


def column_teacher(recipe: Recipe, task: Task, label_names: Sequence[str]) -> ColumnTeacher:
    """Return the teacher whose answers stand in the data.

    Raises:
        DistillationError: the task is not of whole texts, or its answers have another form.
    """
    return ColumnTeacher(ANSWER, task, list(label_names) or None, form=recipe.teacher.form)


def in_labels_of_data(
    models: Sequence[PreTrainedModel], label_names: Sequence[str], given: Sequence[str] | None
) -> list[PreTrainedModel]:
    """Return finished members that name the labels of the data, each in its own order.

    Args:
        models: the first one's labels have been compared with the data's.
        label_names: of the data, in the first one's order.
        given: `data.label_names`, which name the logits of a member that has only placeholders.

    Raises:
        DistillationError: a member has other labels, or placeholders whose order nothing tells.
    """
    first, *others = models
    for index, model in enumerate(others, start=1):
        own = label_names_of(model.config) if label_names else None
        if own is not None:
            label_order(own, label_names, f"teacher.model[{index}]", "the first teacher")
        elif label_names and model.config.num_labels != len(label_names):
            raise DistillationError(
                f"teacher.model[{index}] must have the {len(label_names)} labels {list(label_names)} of the first "
                f"teacher, but it has {model.config.num_labels}. Use models of the same labels."
            )
        elif label_names and given is None and label_names_of(first.config) is not None:
            raise DistillationError(
                f"the first teacher names its labels {list(label_names)}, but teacher.model[{index}] has only "
                "placeholders (LABEL_0, LABEL_1, …), so their order cannot be compared. Set data.label_names to the "
                "names in the order of its logits."
            )
    is_named = [not label_names or label_names_of(model.config) is not None for model in others]
    return [
        named(first, label_names),
        *(model if has_names else named(model, label_names) for model, has_names in zip(others, is_named, strict=True)),
    ]
