"""DistillationTrainer: the Trainer of transformers, with a teacher and an objective. Glue only."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.checkpoints import last_complete_checkpoint
from distilnlp.component_log import ComponentLog
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.labels import NO_LABEL, align_dataset_labels
from distilnlp.objective import HardLoss, Objective, SoftLoss
from distilnlp.projections import attached, refuse_unused, split_projected
from distilnlp.sampling import SeededByEpoch
from distilnlp.signals import SignalRequest, Signals, named_inputs, profile_of, read_signals, select_inputs
from distilnlp.students.tokenizer import giving_only
from distilnlp.tasks import Task, task_of
from distilnlp.teachers import Teacher, as_teacher, in_label_order


class DistillationTrainer(Trainer):
    """A `transformers.Trainer` whose loss is an objective over the labels and a teacher's signals.

    Every argument, callback and method of the Trainer keeps its meaning. The scale is exact: each component is its sum
    over its own valid items divided by their number in the whole accumulated batch on all processes, so that batch
    size, accumulation and processes can be traded for one another. Method: Hinton et al. (arXiv 1503.02531).

    Args:
        model: the student, a transformers model with a classification head.
        teacher_model: a fine-tuned model, a list of them (the mean of their probabilities), or any object with the
            `Teacher` protocol. It runs in eval mode, without gradient, and is neither trained nor saved. None for
            training on the labels alone (`soft_loss_weight=0`).
        args: the arguments; None = the defaults with `output_dir="trainer_output"`.
        train_dataset: rows as for the Trainer. A row whose label is null or -100 has no hard loss and a full soft loss.
        data_collator: None = the task's, which pads and understands null labels.
        kwargs: every other argument of the Trainer.

    Raises:
        DistillationError: teacher, student and data do not fit together; before any training.
    """

    # The objective divides by the counts of the whole accumulated batch, so the Trainer must not divide again.
    loss_is_scaled_for_ga = True

    args: DistillationTrainingArguments
    model: Any
    objective: Objective

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        teacher_model: PreTrainedModel | Teacher | Sequence[Any] | None = None,
        args: DistillationTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        args = args or DistillationTrainingArguments(output_dir="trainer_output")
        _check_constructor(model, teacher_model, args, kwargs)
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
        _check_parallelism(self)
        self._given_teacher = None if teacher_model is None else as_teacher(teacher_model, args.teacher_dtype)
        if self._given_teacher is not None:
            self._given_teacher.to(self.args.device)
        self._fit_to_student()
        if len(self.objective.projections) and kwargs.get("optimizers", (None, None))[0] is not None:
            raise DistillationError(
                "optimizers cannot be honoured with a feature loss whose widths differ: its projections would not be "
                "in that optimizer. Leave optimizers out and use optimizer_cls_and_kwargs or the optim argument."
            )
        if data_collator is None:
            self.data_collator = self.task.collator(processing_class)
        self.train_dataset = self._with_student_labels(train_dataset, "training")
        self.eval_dataset = self._with_student_labels(eval_dataset, "evaluation")

    def _fit_to_student(self) -> None:
        """Build what depends on both the student and the teacher."""
        self.task: Task = task_of(self.model)
        profile = profile_of(self.model)
        given = self._given_teacher
        self.teacher: Teacher | None = None if given is None else in_label_order(given, profile, "the student")
        self._student_inputs = named_inputs(self.model)
        teacher_profile = None if self.teacher is None else self.teacher.profile
        self._label_names = profile.label_names or (None if teacher_profile is None else teacher_profile.label_names)
        self.objective = self.args.build_objective(self.task, profile, teacher_profile)
        self._component_log = ComponentLog(self.objective.names, self.accelerator)
        self._eval_log = ComponentLog(["loss", "soft_loss"], self.accelerator)

    def _with_student_labels(self, dataset: Any, split: str) -> Any:
        if isinstance(dataset, dict):
            return type(dataset)({name: self._with_student_labels(part, name) for name, part in dataset.items()})
        return align_dataset_labels(dataset, self._label_names, self.model.config.num_labels, split)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Give the batches of an evaluation, labels in the student's order."""
        is_new = eval_dataset is not None and not isinstance(eval_dataset, str)
        return super().get_eval_dataloader(
            self._with_student_labels(eval_dataset, "evaluation") if is_new else eval_dataset
        )

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Give the batches of a prediction, labels in the student's order."""
        return super().get_test_dataloader(self._with_student_labels(test_dataset, "test"))

    # ---- Data ----

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        teacher_columns = frozenset() if self.teacher is None else self.teacher.columns
        # The length column is read by the sampler that puts rows of like length together; models never see it.
        self._signature_columns: Any = sorted(
            {*self._signature_columns, *teacher_columns, self.args.length_column_name}
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
        counts = torch.stack([self.objective.count(batch) for batch in batches]).sum(dim=0).to(device)
        num_items = self.accelerator.reduce(counts, reduction="sum")
        self._component_log.weigh((num_items > 0).float())
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
            loss, outputs = self._evaluation_loss(model, inputs)
        return (loss, outputs) if return_outputs else loss

    def _training_loss(self, model: nn.Module, inputs: dict[str, Any], num_items: Tensor | None) -> tuple[Tensor, Any]:
        teacher = self._teacher_signals(inputs, self.objective.request)
        student, outputs = self._run_student(model, inputs, self.objective.request)
        values = self.objective(student, teacher, inputs, num_items)
        self._component_log.add(values, self.state.global_step + 1)
        # DDP averages gradients over the processes; the counts are global, so the sum is what is wanted.
        scale = 1 if num_items is None else self.accelerator.num_processes
        return self.objective.total(values) * scale, outputs

    def _teacher_signals(self, inputs: dict[str, Any], request: SignalRequest) -> Signals | None:
        if self.teacher is None or not self.objective.needs_teacher:
            return None
        return self.teacher(inputs, request)

    def _run_student(self, model: nn.Module, inputs: dict[str, Any], request: SignalRequest) -> tuple[Signals, Any]:
        own = select_inputs(inputs, self._student_inputs)
        outputs = model(**own, output_hidden_states=request.hidden_states, return_dict=True)
        signals = read_signals(outputs, request)
        if signals.hidden_states is not None:
            own_states, projected = split_projected(self.model, signals.hidden_states)
            signals = replace(signals, hidden_states=own_states, projected=projected)
        return signals, outputs

    def _evaluation_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        student, outputs = self._run_student(model, inputs, SignalRequest())
        teacher = self.teacher(inputs, SignalRequest()) if self.args.eval_soft_loss and self.teacher else None
        self._add_to_eval_log(student, teacher, inputs)
        return HardLoss(self.task, weight=1.0)(student, None, inputs, None), outputs

    def _add_to_eval_log(self, student: Signals, teacher: Signals | None, inputs: dict[str, Any]) -> None:
        """Count the losses by their own items: a mean of the batches' means would weigh ragged batches wrongly."""
        rows = self._own_rows(len(student.logits))
        inputs = {name: value[:rows] for name, value in inputs.items()}
        student = replace(student, logits=student.logits[:rows])
        hard_loss, soft_loss = HardLoss(self.task, 1.0), SoftLoss(self.task, 1.0, self.args.temperature)
        values = [hard_loss(student, None, inputs, 1), torch.zeros_like(student.logits.sum())]
        counts = [hard_loss.count(inputs), torch.zeros_like(hard_loss.count(inputs))]
        if teacher is not None:
            values[1] = soft_loss(student, replace(teacher, logits=teacher.logits[:rows]), inputs, 1)
            counts[1] = soft_loss.count(inputs)
        self._eval_log.weigh(self.accelerator.reduce(torch.stack(counts), reduction="sum"))
        self._eval_log.add(torch.stack(values), self.state.global_step)

    def _own_rows(self, rows: int) -> int:
        """Count the rows of a batch without those that accelerate repeats to fill the last one of several processes."""
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return min(max(state.remainder - rows * self.accelerator.process_index, 0), rows)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> Any:
        """Evaluate a batch. One without labels takes the same way, as rows of which none has a label."""
        if any(inputs.get(name) is not None for name in self.label_names):
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        absent = torch.full_like(self.task.valid_items(inputs), NO_LABEL, dtype=torch.long)
        inputs = {**inputs, self.label_names[0]: absent}
        _, logits, _ = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
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
                logs.update(components)
        super().log(logs, start_time)

    # ---- Projections and checkpoints ----

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does; `resume_from_checkpoint=True` passes over a checkpoint that was cut off."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(str(self.args.output_dir)) or True
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        if self.model_init is not None:
            self._fit_to_student()
        self._component_log.clear()  # of what a failed or interrupted run left
        with attached(self.objective.projections, self.model):
            return super()._inner_training_loop(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._component_log.read()  # a NaN must not replace the last good checkpoint
        super()._save_checkpoint(*args, **kwargs)

    def _save(self, *args: Any, **kwargs: Any) -> None:
        _check_weights_finite(self.model, self.state.global_step)
        with giving_only(self._student_inputs, self.processing_class):
            super()._save(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if len(self.objective.projections) and self.args.should_save:
            self.objective.projections.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and len(self.objective.projections):
            self.objective.projections.load(checkpoint)
        elif checkpoint is not None:
            refuse_unused(checkpoint)
        super()._load_optimizer_and_scheduler(checkpoint)

    # ---- Hub ----

    def create_model_card(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the Trainer's model card, tagged as distilled. Takes what `Trainer.create_model_card` takes."""
        tags = kwargs.pop("tags", None) or []
        kwargs["tags"] = sorted({*([tags] if isinstance(tags, str) else tags), "distilnlp", "knowledge-distillation"})
        super().create_model_card(**kwargs)


def _check_constructor(model: Any, teacher: Any, args: Any, kwargs: dict[str, Any]) -> None:
    if not isinstance(args, DistillationTrainingArguments):
        raise DistillationError(
            f"args must be DistillationTrainingArguments, but they are {type(args).__name__}. Use the same arguments "
            "with DistillationTrainingArguments(...): it takes every one of TrainingArguments."
        )
    members = teacher if isinstance(teacher, Sequence) else [teacher]
    if model is not None and any(model is member for member in members):
        raise DistillationError(
            "the student and the teacher are one and the same object. Make a student with build_student(teacher, ...)."
        )
    if kwargs.get("compute_loss_func") is not None:
        raise DistillationError(
            "compute_loss_func cannot be honoured: the objective is the loss. Remove it, or use the plain Trainer."
        )


def _check_parallelism(trainer: Trainer) -> None:
    sizes = {
        "context": trainer.get_cp_size(),
        "sequence": trainer.get_sp_size(),
        "tensor": trainer.get_tp_size(),
    }
    for name, size in sizes.items():
        if size > 1:
            raise DistillationError(
                f"{name} parallelism of {size} splits a batch in a way that the objective cannot count. Use data "
                "parallelism: one whole student a process."
            )


def _check_weights_finite(model: nn.Module, step: int) -> None:
    finite = torch.stack([parameter.isfinite().all() for parameter in model.parameters()])
    if not finite.all():
        raise NonFiniteLossError(
            f"the student's weights became NaN or infinite at or before optimizer step {step}, although the loss was "
            "finite: a gradient overflowed. The last checkpoint is from before that and is kept. Lower the learning "
            "rate, set max_grad_norm, or train in float32."
        )
