"""DistillationTrainer: the Trainer of transformers, with a teacher and an objective. Glue only."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler

from distilnlp.answers import LookupCollator
from distilnlp.models.captures import eager_attention
from distilnlp.models.loading import hub_errors
from distilnlp.objective import HardLoss, LossBalance, Objective
from distilnlp.objective.projections import attached, refuse_unused, split_projected
from distilnlp.signals import SignalRequest, Signals, named_inputs
from distilnlp.signals.names import LABEL_COLUMNS, LABEL_INPUTS, TEACHER
from distilnlp.students.loading import giving_only
from distilnlp.tasks import Task, profile_of, task_of
from distilnlp.tasks.collators import AllEncodings, CheckedCollator
from distilnlp.tasks.forward import forward
from distilnlp.teachers import LookupTeacher, OwnEncodingTeacher, Teacher, as_teacher, in_label_order
from distilnlp.training import checks as checks
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.checkpoints import checkpoint_to_resume, seal_checkpoint
from distilnlp.training.component_log import ComponentLog
from distilnlp.training.evaluation_log import EvaluationLog
from distilnlp.training.keeping import Questions, asked_temperatures, left_out, teachers_collator, with_kept_answers
from distilnlp.training.sampling import SeededByEpoch, own_rows, without_repeated


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
        train_dataset: rows as for the Trainer. A row whose label is null or -100 has no hard loss and a full soft loss.
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
        self._given_teacher = None if teacher_model is None else as_teacher(teacher_model, args.teacher_dtype)
        if self._given_teacher is not None:
            self._given_teacher.to(self.args.device)
        # Members of an ensemble that have encodings of their own are given under their own prefixes, and read them.
        own_tokenizers = teacher_processing_class
        if own_tokenizers is not None and not isinstance(own_tokenizers, Mapping):
            own_tokenizers = {TEACHER: own_tokenizers}
        self._teacher_has_own_encoding = own_tokenizers is not None and TEACHER in own_tokenizers
        self._teacher_prefix = TEACHER if self._teacher_has_own_encoding else ""  # of the names of its columns
        self._teacher_tokenizers = own_tokenizers or ({} if processing_class is None else {"": processing_class})
        self._fit_to_student()
        self._has_own_collator = data_collator is not None
        if teacher_processing_class is None:
            checks.check_vocabularies(self.model, teacher_model, processing_class)
        checks.check_optimizers(self.distillation_objective, kwargs)
        checks.check_finite(student=self.model, teacher=self._given_teacher)
        if data_collator is None:
            self.data_collator = self.task.collator(processing_class)
            if own_tokenizers is not None:
                others = {prefix: self.task.collator(tokenizer) for prefix, tokenizer in own_tokenizers.items()}
                self.data_collator = AllEncodings(self.data_collator, others, self.distillation_objective.aligned_by)
        self.train_dataset = self._with_student_labels(train_dataset, "training")
        checks.check_batch_size(self.distillation_objective, args, self.task.texts_a_row(self.train_dataset))
        self.eval_dataset = self._with_student_labels(eval_dataset, "evaluation")
        checks.check_answers(self._given_teacher, self._teacher_has_own_encoding, *self._answered_datasets())

    def _fit_to_student(self) -> None:
        """Build what depends on both the student and the teacher."""
        self.task: Task = task_of(self.model)
        profile = profile_of(self.model)
        self.teacher: Teacher | None = None if self._given_teacher is None else self._fitted(self._given_teacher)
        self._student_inputs = named_inputs(self.model)
        self._id_limits = checks.id_limits(self.task, self.model, self._given_teacher, self._teacher_has_own_encoding)
        teacher_profile = None if self.teacher is None else self.teacher.profile
        self._label_names = profile.label_names or (None if teacher_profile is None else teacher_profile.label_names)
        self.distillation_objective = self.args.build_objective(self.task, profile, teacher_profile)
        checks.check_temperatures(asked_temperatures(self.args, self.distillation_objective), teacher_profile)
        names = self.distillation_objective.names
        self._component_log = ComponentLog(names, self.accelerator)
        self._balance = LossBalance(len(names), self.accelerator) if self.args.balance_losses else None
        self._eval_log = EvaluationLog(self.task, self.args, self.accelerator)

    def _fitted(self, given: Teacher) -> Teacher:
        """Return the teacher as the student's batches need it: labels in its order, the teacher's own encoding."""
        teacher = in_label_order(given, profile_of(self.model), "the student")
        if not self._teacher_has_own_encoding:
            return teacher
        checks.check_own_encoding(self.task)
        return OwnEncodingTeacher(teacher)

    def _with_student_labels(self, dataset: Any, split: str) -> Any:
        if isinstance(dataset, dict):
            return type(dataset)({name: self._with_student_labels(part, name) for name, part in dataset.items()})
        checks.check_tokens(dataset, split, self._id_limits, may_be_text=self._has_own_collator)
        return self.task.align_labels(dataset, self._label_names, self.task.num_classes(self.model.config), split)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Give the batches of an evaluation, labels in the student's order."""
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset = self._with_student_labels(eval_dataset, "evaluation")
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Give the batches of a prediction, labels in the student's order."""
        return super().get_test_dataloader(self._with_student_labels(test_dataset, "test"))

    # ---- Data ----

    @contextmanager
    def _answers_kept(self) -> Iterator[None]:
        """Ask the teacher once for the training inside, if that is faster; afterwards it answers anything again."""
        live = self._given_teacher, self.teacher
        try:
            self._keep_answers()
            yield
        finally:
            self._given_teacher, self.teacher = live
            if live[0] is not None:
                live[0].to(self.args.device)

    def _keep_answers(self) -> None:
        """Ask the teacher once, if that is faster than to run it in every epoch."""
        if self._given_teacher is None or not self.distillation_objective.needs_teacher:
            return
        objective = self.distillation_objective
        questions = Questions(
            self.task,
            objective.teacher_request,
            self._answered_datasets(),
            teachers_collator(self.data_collator, self._teacher_prefix),
            self._teacher_tokenizers,
            self._teacher_prefix,
            asked_temperatures(self.args, objective),
            left_out(self.args, self.task, self._given_teacher.profile.num_labels),
        )
        kept = with_kept_answers(self.args, self._given_teacher, questions, self._has_own_collator)
        if kept is not self._given_teacher:
            self._given_teacher.to(torch.device("cpu"))  # out of the way of the student
            self._given_teacher, self.teacher = kept, self._fitted(kept)

    def _answered_datasets(self) -> list[Any]:
        """Return the data whose rows the teacher answers."""
        evaluated = self.eval_dataset if self.args.eval_soft_loss else None
        further = list(evaluated.values()) if isinstance(evaluated, dict) else [evaluated]
        return [self.train_dataset, *(rows for rows in further if rows is not None)]

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Make batches; where the teacher's answers are looked up by row, they are put into the batches."""
        given, collate = self._given_teacher, self.data_collator
        self.data_collator = CheckedCollator(collate, self._id_limits)
        if isinstance(given, LookupTeacher):
            is_asked = bool(kwargs.get("is_training") or self.args.eval_soft_loss)
            columns = self._student_inputs | self.task.loss_inputs | {*LABEL_COLUMNS, *LABEL_INPUTS}
            self.data_collator = LookupCollator(self.data_collator, given, columns, self._teacher_prefix, is_asked)
        try:
            return super()._get_dataloader(*args, **kwargs)
        finally:
            self.data_collator = collate

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        teacher_columns = frozenset() if self.teacher is None else self.teacher.columns
        # The length column is read by the sampler that puts rows of like length together; models never see it.
        self._signature_columns: Any = sorted(
            {*self._signature_columns, *teacher_columns, *self.task.loss_inputs, self.args.length_column_name}
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if not isinstance(sampler, LengthGroupedSampler):
            return sampler
        return SeededByEpoch(sampler, self.args.seed, lambda: int(self.state.epoch or 0))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | None]:
        """Fetch the micro-batches of one optimizer step and count each component's items over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        batches[-1] = without_repeated(batches[-1], own_rows(self.accelerator, batches[-1], self.args))
        counts = torch.stack([self.distillation_objective.count(batch) for batch in batches]).sum(dim=0).to(device)
        num_items = self.accelerator.reduce(counts, reduction="sum")
        self._component_log.weigh((num_items > 0).float())
        if self._balance is not None:
            self._balance.begin_step(num_items)
        return batches, num_items

    # ---- Loss ----

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
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
        asked = self.teacher if objective.needs_teacher else None
        teacher = None if asked is None else asked(inputs, objective.teacher_request)
        student, outputs = self._run_student(model, inputs, objective.student_request)
        values = objective(student, teacher, inputs, num_items, progress)
        self._component_log.add(values, self.state.global_step + 1)
        if self._balance is not None:
            self._balance.add(values)
        total = objective.total(values, progress, None if self._balance is None else self._balance.factors)
        # DDP averages gradients over the processes; the counts are global, so the sum is what is wanted.
        return total * (1 if num_items is None else self.accelerator.num_processes), outputs

    def _progress_after(self, steps: int) -> float:
        """Return the share of the training that is done after a number of steps."""
        return steps / max(self.state.max_steps, 1)

    def _run_student(
        self, model: nn.Module, inputs: dict[str, Any], request: SignalRequest, whole_head: bool = False
    ) -> tuple[Signals, Any]:
        signals, outputs = forward(model, self.task, inputs, self._student_inputs, request, whole_head)
        if isinstance(signals.hidden_states, tuple):
            states, projected = split_projected(self.model, signals.hidden_states)
            signals = replace(signals, hidden_states=states, projected=projected)
        return signals, outputs

    def _evaluation_loss(self, model: nn.Module, inputs: dict[str, Any], whole_head: bool) -> tuple[Tensor, Any]:
        # An empty tensor stands for labels that are not there.
        inputs = {name: value for name, value in inputs.items() if name not in LABEL_INPUTS or value.numel()}
        inputs = self._eval_log.without_labels_of_others(inputs)
        student, outputs = self._run_student(model, inputs, SignalRequest(), whole_head)
        teacher = self.teacher(inputs, SignalRequest()) if self.args.eval_soft_loss and self.teacher else None
        self._eval_log.add(student, teacher, inputs, self.state.global_step)
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

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
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
            components = self._component_log.read()
            self._component_log.clear()
            if "loss" in logs:
                logs.update({**components, **self._weights_to_log()})
        super().log(logs, start_time)

    def _weights_to_log(self) -> dict[str, float]:
        """Return the components' effective weights, where they change."""
        objective = self.distillation_objective
        if self._balance is None and not objective.changes_weights:
            return {}
        factors = [1.0] * len(objective.components) if self._balance is None else self._balance.factors.tolist()
        weights = objective.weights(self._progress_after(self.state.global_step - 1))  # of the step just done
        return {
            f"{name}_weight": weight * factor
            for name, weight, factor in zip(objective.names, weights, factors, strict=True)
        }

    # ---- Projections and checkpoints ----

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does; `resume_from_checkpoint=True` passes over a checkpoint that is not whole."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = checkpoint_to_resume(self.args)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        if self.model_init is not None:
            self._fit_to_student()
        self._component_log.clear()  # of what a failed or interrupted run left
        if self._balance is not None:
            self._balance.clear()
        with (
            self._answers_kept(),
            attached(self.distillation_objective.projections, self.model),
            eager_attention(self.model) if self.distillation_objective.student_request.attentions else nullcontext(),
        ):
            return super()._inner_training_loop(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._component_log.read()  # a NaN must not replace the last good checkpoint
        if self._balance is not None:
            self._balance.end_step()
        super()._save_checkpoint(model, trial)
        seal_checkpoint(self._get_output_dir(trial), self.state.global_step)

    def _save(self, *args: Any, **kwargs: Any) -> None:
        checks.check_weights_finite(self.model, self.state.global_step)
        with giving_only(self._student_inputs, self.processing_class):
            super()._save(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if len(self.distillation_objective.projections) and self.args.should_save:
            self.distillation_objective.projections.save(output_dir)
        if self._balance is not None and self.args.should_save:
            self._balance.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        checks.check_resumable(checkpoint)
        if len(self.distillation_objective.projections):
            self.distillation_objective.projections.load(checkpoint)
        else:
            refuse_unused(checkpoint)
        if self._balance is not None:
            self._balance.load(checkpoint)
        super()._load_optimizer_and_scheduler(checkpoint)

    # ---- Hub ----

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Push as the Trainer does; what the network or the Hub refuses is a `DistillationError`."""
        with hub_errors():
            return super().push_to_hub(*args, **kwargs)

    def create_model_card(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the Trainer's model card, tagged as distilled. Takes what `Trainer.create_model_card` takes."""
        tags = kwargs.pop("tags", None) or []
        kwargs["tags"] = sorted({*([tags] if isinstance(tags, str) else tags), "distilnlp", "knowledge-distillation"})
        super().create_model_card(**kwargs)
