"""DistillationTrainer: the Trainer of transformers, with a teacher and an objective. Glue only."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from distilnlp.answers.keeping import asked_temperatures
from distilnlp.models.loading import hub_errors
from distilnlp.objective import HardLoss, Objective
from distilnlp.signals import LABEL_INPUTS, Batch, SignalRequest, under
from distilnlp.students.given_models import giving_only
from distilnlp.tasks import Task, profile_of, task_of
from distilnlp.teachers import Teacher
from distilnlp.training import refusals as checks
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.card import TAGS, write_short_card
from distilnlp.training.checkpoints import checkpoint_to_resume, seal_checkpoint
from distilnlp.training.component_log import RunningLosses
from distilnlp.training.evaluation_log import EvaluationLog
from distilnlp.training.raw_text import RawText
from distilnlp.training.sampling import SeededByEpoch, own_rows, without_repeated
from distilnlp.training.teacher_side import TeacherSide
from distilnlp.training.trained import Trained


class DistillationTrainer(Trainer):
    """A `transformers.Trainer` whose loss is an objective over the labels and a teacher's signals.

    Every argument, callback and method of the Trainer keeps its meaning. The scale is exact: each component is its sum
    over its own valid items divided by their number in the whole accumulated batch on all processes, so that batch
    size, accumulation and processes can be traded for one another. Method: Hinton et al. (arXiv 1503.02531).

    Args:
        model: the student, a transformers model with the head of any task.
        teacher_model: a fine-tuned model, a list of them (the mean of their probabilities), or any object with the
            `Teacher` protocol. It runs in eval mode, without gradient, and is neither trained nor saved. None for
            training on the labels alone (`soft_loss_weight=0`).
        args: the arguments; None = the defaults with `output_dir="trainer_output"`.
        train_dataset: rows as for the Trainer; or, with a `processing_class` and no `data_collator`, rows with the
            column `text`, and for pairs `text_pair`, which are tokenised here; the same for `eval_dataset`. A row whose
            label is null or -100 has no hard loss and a full soft loss.
        data_collator: None = the task's, which pads and understands null labels.
        teacher_processing_class: the teacher's tokenizer where it is another than the student's. The rows then carry
            the teacher's encoding too, in columns named `teacher_input_ids`, `teacher_attention_mask` and so on. For an
            ensemble whose members each have one: a mapping from the prefix of a member's columns to its tokenizer.
        kwargs: every other argument of the Trainer.

    Raises:
        DistillationError: teacher, student and data do not fit together; before any training.
    """

    # The objective divides by the counts of the whole accumulated batch, so the Trainer must not divide again.
    loss_is_scaled_for_ga = True

    args: DistillationTrainingArguments
    model: Any
    distillation_objective: Objective
    _wants_logits = False  # whether an evaluation gathers the logits, all of them

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        teacher_model: PreTrainedModel | Teacher | Sequence[Any] | None = None,
        args: DistillationTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        teacher_processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        args = args or DistillationTrainingArguments(output_dir="trainer_output")
        checks.check_constructor(model, teacher_model, args, kwargs)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        self.model_accepts_loss_kwargs = False  # the student computes no loss of its own
        checks.check_parallelism(self)
        checks.check_separate(self.model, teacher_model)
        self.teacher = TeacherSide(teacher_model, args, processing_class, teacher_processing_class)
        self._fit_to_student()
        if teacher_processing_class is None:
            checks.check_vocabularies(self.model, teacher_model, processing_class)
        checks.check_optimizers(self.distillation_objective, kwargs)
        checks.check_finite(student=self.model, teacher=self.teacher.given)
        self.data_collator = self.teacher.collator(data_collator, processing_class, self.distillation_objective)
        self._may_be_text = data_collator is not None  # which may tokenise it
        self._given_teacher = teacher_model
        teachers = teacher_model if isinstance(teacher_model, Sequence) else [teacher_model]
        self._raw_text = RawText(None if self._may_be_text else processing_class, teachers, teacher_processing_class)
        self.train_dataset = self._with_student_labels(train_dataset, "training")
        checks.check_batch_size(self.distillation_objective, args, self.task.texts_a_row(self.train_dataset))
        self.eval_dataset = self._with_student_labels(eval_dataset, "evaluation")
        self.teacher.check_rows(*self._answered_datasets())
        self.add_callback(self.teacher)

    def _fit_to_student(self) -> None:
        """Build what depends on both the student and the teacher."""
        self.task: Task = task_of(self.model)
        profile = profile_of(self.model)
        self.teacher.fit(self.task, profile)
        its = self.teacher.profile
        self._id_limits = checks.id_limits(self.task, self.model, self.teacher.given, bool(self.teacher.prefix))
        self._label_names = profile.label_names or (None if its is None else its.label_names)
        self.distillation_objective = self.args.build_objective(self.task, profile, its)
        checks.check_temperatures(asked_temperatures(self.args, self.distillation_objective), its)
        self.trained = Trained(self.model, self.task, self.distillation_objective)
        self._losses = RunningLosses(self.distillation_objective, self.args.balance_losses, self.accelerator)
        self._eval_log = EvaluationLog(self.task, self.args, self.accelerator)

    # ---- Data ----

    def _with_student_labels(self, dataset: Any, split: str) -> Any:
        if isinstance(dataset, dict):
            return type(dataset)({name: self._with_student_labels(part, name) for name, part in dataset.items()})
        dataset = self._raw_text.tokenised(dataset, split, self.task, self.model)
        checks.check_tokens(dataset, split, self._id_limits, self._may_be_text)
        return self.task.align_labels(dataset, self._label_names, self.task.num_classes(self.model.config), split)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Give the batches of an evaluation, labels in the student's order."""
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset = self._with_student_labels(eval_dataset, "evaluation")
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """Give the batches of a prediction, labels in the student's order."""
        return super().get_test_dataloader(self._with_student_labels(test_dataset, "test"))

    def _answered_datasets(self) -> list[Any]:
        """Return the data whose rows the teacher answers."""
        evaluated = self.eval_dataset if self.args.eval_soft_loss else None
        further = list(evaluated.values()) if isinstance(evaluated, dict) else [evaluated]
        return [self.train_dataset, *(rows for rows in further if rows is not None)]

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        """Make batches, with the teacher's answers in them where these are looked up by row."""
        collate, is_asked = self.data_collator, bool(kwargs.get("is_training") or self.args.eval_soft_loss)
        self.data_collator = self.teacher.collate(collate, self._id_limits, self.trained.inputs, is_asked)
        try:
            return super()._get_dataloader(*args, **kwargs)
        finally:
            self.data_collator = collate

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        # The length column is read by the sampler that puts rows of like length together; models never see it.
        self._signature_columns: Any = sorted(
            {*self._signature_columns, *self.teacher.columns, *self.task.loss_inputs, self.args.length_column_name}
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if not isinstance(sampler, LengthGroupedSampler):
            return sampler
        return SeededByEpoch(sampler, self.args.seed, lambda: int(self.state.epoch or 0))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | None]:
        """Fetch the micro-batches of one optimizer step and count each component's items over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        batches[-1] = without_repeated(batches[-1], own_rows(self.accelerator, batches[-1], self.args))
        counts = torch.stack([self.distillation_objective.count(batch) for batch in batches]).sum(dim=0).to(device)
        num_items = self.accelerator.reduce(counts, reduction="sum")
        self._losses.begin_step(num_items)
        return batches, num_items

    # ---- Loss ----

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor | tuple[Tensor, Any]:
        """Return the objective while training, the hard loss while evaluating.

        Args:
            model: the student, possibly wrapped.
            inputs: a batch; the student and the teacher each get the entries that they name.
            return_outputs: return `(loss, outputs)`.
            num_items_in_batch: `[components]` counts from `get_batch_samples`; None = the counts of this batch.
        """
        if model.training:
            loss, outputs = self._training_loss(model, inputs, num_items_in_batch)
        else:
            loss, outputs = self._evaluation_loss(model, inputs, whole_head=return_outputs and self._wants_logits)
        return (loss, outputs) if return_outputs else loss

    def _training_loss(self, model: nn.Module, inputs: dict[str, Any], num_items: Tensor | None) -> tuple[Tensor, Any]:
        objective, progress = self.distillation_objective, self._progress_after(self.state.global_step)
        teacher = self.teacher(inputs, objective.teacher_request) if objective.needs_teacher else None
        student, outputs = self.trained.signals(model, inputs, is_training=True)
        values = objective(student, teacher, inputs, num_items, progress)
        total = self._losses.total(values, self.state.global_step + 1, progress)
        # DDP averages gradients over the processes; the counts are global, so the sum is what is wanted.
        return total * (1 if num_items is None else self.accelerator.num_processes), outputs

    def _progress_after(self, steps: int) -> float:
        """Return the share of the training that is done after a number of steps."""
        return steps / max(self.state.max_steps, 1)

    def _evaluation_loss(self, model: nn.Module, inputs: dict[str, Any], whole_head: bool) -> tuple[Tensor, Any]:
        # An empty tensor stands for labels that are not there.
        inputs = {name: value for name, value in inputs.items() if name not in LABEL_INPUTS or value.numel()}
        inputs = self._eval_log.without_labels_of_others(inputs)
        student, outputs = self.trained.signals(model, inputs, is_training=False, whole_head=whole_head)
        is_asked = self.args.eval_soft_loss and self.teacher.given is not None
        teacher = self.teacher(inputs, SignalRequest()) if is_asked else None
        self._eval_log.add_batch(student, teacher, inputs, self.state.global_step)
        return HardLoss(self.task, 1.0)(student, None, inputs, None, 1.0), outputs

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> Any:
        """Evaluate a batch. One without labels takes the same way, as rows without labels."""
        self._wants_logits = not prediction_loss_only
        if any(inputs.get(name) is not None for name in self.label_names):
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        absent = dict.fromkeys(self.label_names, torch.empty(0, dtype=torch.long))
        _, logits, _ = super().prediction_step(model, {**inputs, **absent}, prediction_loss_only, ignore_keys)
        return None, logits, None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluate the student: the loss is the hard loss over the labelled rows. See also `eval_soft_loss`."""
        self._eval_log.clear()
        output: Any = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.pop(f"{prefix}_loss", None)  # the mean of the batches' means
        output.metrics.update({f"{prefix}_{name}": value for name, value in self._eval_log.read().items()})
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean of every component since the last log beside the loss."""
        if "loss" in logs or "train_loss" in logs:
            components = self._losses.take(self._progress_after(self.state.global_step - 1))  # of the step just done
            if "loss" in logs:
                logs.update(components)
        super().log(logs, start_time)

    # ---- What trains, and its checkpoints ----

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """Wrap and optimise what trains as the model; to users and callbacks, `self.model` is the student."""
        student, self.model = self.model, self.trained
        if not self.trained.is_in(self.model_wrapped):
            self.model_wrapped = self.trained
        try:
            return super()._prepare_for_training(*args, **kwargs)
        finally:
            if self.model is self.trained:  # where it is sharded, the Trainer put the wrapped one there
                self.callback_handler.model = self.model = student

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train as the Trainer does; `resume_from_checkpoint=True` passes over a checkpoint that is not whole."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = checkpoint_to_resume(self.args)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        if self.model_init is not None:
            self._fit_to_student()
        self._losses.clear()
        try:
            self.teacher.start(self.distillation_objective, self._answered_datasets(), self.data_collator)
            with self.trained.ready():
                return super()._inner_training_loop(*args, **kwargs)
        finally:
            self.teacher.end()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._losses.end_step()
        super()._save_checkpoint(model, trial)
        seal_checkpoint(self._get_output_dir(trial), self.state.global_step)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        checks.check_weights_finite(self.trained, self.state.global_step)
        running = self.model
        if state_dict is not None:  # gathered from the parts of what trains, which is then the model, or the student's
            self.model, state_dict = self.trained.student, under("student.", state_dict) or state_dict
        try:
            with giving_only(self.trained.inputs, self.processing_class):
                super()._save(output_dir, state_dict)
        finally:
            self.model = running

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the student as the Trainer does, with a model card unless one is there."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and not _internal_call:  # a checkpoint needs none
            folder = Path(output_dir or str(self.args.output_dir))
            write_short_card(folder, self.model, self.task, self._given_teacher, self.args, self.state)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            self.trained.projections.save(output_dir)
            self._losses.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        checks.check_resumable(checkpoint)
        self.trained.projections.load(checkpoint)
        self._losses.load(checkpoint)
        super()._load_optimizer_and_scheduler(checkpoint)

    # ---- Hub ----

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Push as the Trainer does; what the network or the Hub refuses is a `DistillationError`."""
        with hub_errors():
            return super().push_to_hub(*args, **kwargs)

    def create_model_card(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the Trainer's model card, tagged as distilled. Takes what `Trainer.create_model_card` takes."""
        tags = kwargs.pop("tags", None) or []
        kwargs["tags"] = sorted({*([tags] if isinstance(tags, str) else tags), *TAGS})
        super().create_model_card(**kwargs)
