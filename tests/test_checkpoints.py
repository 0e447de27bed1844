"""Projections, checkpoints, resumption, and losses that are not finite."""

import copy
import json
import logging
import math
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    PreTrainedModel,
    TrainerCallback,
)
from transformers.utils import logging as transformers_logging

from distilnlp import DistillationTrainer, NonFiniteLossError
from distilnlp.errors import DistillationError
from distilnlp.training.checkpoints import checkpoint_to_resume, last_complete_checkpoint, seal_checkpoint
from distilnlp.training.refusals import check_resumable
from tests.conftest import tiny_arguments, tiny_data, tiny_student, tiny_teacher
from tests.test_cache import flip_a_byte
from tests.tiny import tiny_tokenizer
from tests.trainer_tools import (
    FEATURES,
    MakeTrainer,
    RecordingTeacher,
    Watcher,
    assert_no_projections,
    assert_same,
    copy_of,
    losses_logged,
    projections_of,
)

# ---- Projections ----


def test_projections_are_trained_saved_in_checkpoints_and_nowhere_else(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(losses=FEATURES, save_strategy="steps", save_steps=1, max_steps=2)
    before = projections_of(trainer)
    trainer.train()
    after = projections_of(trainer)
    assert all((before[name] != value).any() for name, value in after.items())
    assert_same(after, load_file(tmp_path / "checkpoint-2" / "projections.safetensors"))
    trainer.save_model(str(tmp_path / "saved"))
    trainer.model.save_pretrained(tmp_path / "by hand")
    for folder in ("checkpoint-2", "saved", "by hand"):
        assert_no_projections(tmp_path / folder, trainer.model)
    assert not (tmp_path / "saved" / "projections.safetensors").exists()


def test_saving_the_student_amid_training_saves_the_student_alone(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    watcher = Watcher("on_step_end", lambda model: (model.save_pretrained(tmp_path / "amid"), copy.deepcopy(model)))
    make_trainer(losses=FEATURES, callbacks=[watcher], max_steps=1).train()
    assert_no_projections(tmp_path / "amid", watcher.seen[0][1])


def test_the_state_of_the_student_can_be_put_back_amid_training(make_trainer: MakeTrainer) -> None:
    """What callbacks that average or restore weights do: a strict load of the student's own state."""
    watcher = Watcher("on_step_end", lambda model: model.load_state_dict(copy_of(model.state_dict())))
    make_trainer(losses=FEATURES, callbacks=[watcher], max_steps=1).train()
    assert str(watcher.seen[0]) == "<All keys matched successfully>"


def parts_of(model: PreTrainedModel) -> tuple[list[str], int]:
    return [name for name, _ in model.named_modules()], len(model._forward_hooks)


def test_the_student_never_has_an_extra_part(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(losses=FEATURES, eval_strategy="steps", eval_steps=1, eval_dataset=tiny_data(4))
    student, parts = trainer.model, parts_of(trainer.model)
    watchers = [Watcher(event, lambda model: (model, parts_of(model))) for event in ("on_step_end", "on_evaluate")]
    for watcher in watchers:
        trainer.add_callback(watcher)
    trainer.train()
    seen = [one for watcher in watchers for one in watcher.seen]
    assert len(seen) == 4
    assert all(model is student and found == parts for model, found in seen)
    assert trainer.model is student
    assert parts_of(student) == parts


def test_after_an_error_the_student_is_the_model_again(make_trainer: MakeTrainer) -> None:
    def stumble(model: PreTrainedModel) -> None:
        raise KeyError("stop")

    for event in ("on_step_end", "on_prediction_step"):
        watcher = Watcher(event, stumble)
        trainer = make_trainer(losses=FEATURES, callbacks=[watcher], eval_dataset=tiny_data(4))
        student = trainer.model
        with pytest.raises(KeyError):
            trainer.train() if event == "on_step_end" else trainer.evaluate()
        assert trainer.model is student


def test_the_state_of_all_that_trains_is_saved_as_the_student_alone(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """What the Trainer does where the weights are gathered from several places."""
    trainer = make_trainer(losses=FEATURES)
    trainer._save(str(tmp_path / "given"), state_dict=trainer.trained.state_dict())
    trainer.save_model(str(tmp_path / "own"))
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "given" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()


def test_projections_count_in_the_norm_that_is_clipped(make_trainer: MakeTrainer) -> None:
    def norms(model: PreTrainedModel) -> tuple[float, float]:
        gradients = {name: p.grad for name, p in trainer.trained.named_parameters() if p.grad is not None}
        added = [value for name, value in gradients.items() if name.startswith("projections.")]
        assert len(added) == 6  # three layers
        return (
            torch.cat([value.flatten() for value in gradients.values()]).norm().item(),
            torch.cat([value.flatten() for value in added]).norm().item(),
        )

    watcher = Watcher("on_pre_optimizer_step", norms)
    trainer = make_trainer(losses=FEATURES, callbacks=[watcher], max_steps=1, max_grad_norm=1e-3)
    trainer.train()
    assert watcher.seen[0][0] == pytest.approx(1e-3, rel=1e-3)
    assert watcher.seen[0][1] > 1e-5


# ---- Checkpoints ----


def test_a_resumed_run_is_the_uninterrupted_one(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"losses": FEATURES, "max_steps": 6, "save_strategy": "steps", "save_steps": 3, "learning_rate": 0.01}
    whole = make_trainer(output_dir=tmp_path / "whole", **options)
    whole.train()
    resumed = make_trainer(output_dir=tmp_path / "resumed", **{**options, "seed": 42})
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert resumed.state.global_step == 6
    assert_same(whole.model.state_dict(), resumed.model.state_dict(), 1e-6)
    assert_same(projections_of(whole), projections_of(resumed), 1e-6)
    fields = ("loss", "hard_loss", "soft_loss", "hidden_state_mse")
    for one, other in zip(losses_logged(whole)[3:], losses_logged(resumed)[3:], strict=True):
        assert [one[name] for name in fields] == pytest.approx([other[name] for name in fields], rel=1e-5)


def test_resuming_in_the_trainer_that_was_interrupted(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"losses": FEATURES, "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.01}
    whole = make_trainer(output_dir=tmp_path / "whole", **options)
    whole.train()

    def interrupt(call: int, logits: Tensor) -> Tensor:
        if call == 4:
            raise KeyboardInterrupt
        return logits

    trainer = make_trainer(
        teacher=RecordingTeacher(spoil=interrupt), logging_steps=3, **{**options, "output_dir": tmp_path / "b"}
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    assert_same(whole.model.state_dict(), trainer.model.state_dict(), 1e-6)
    assert_same(projections_of(whole), projections_of(trainer), 1e-6)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "zeros", "garbage"])
def test_resume_passes_over_a_checkpoint_that_was_cut_off(
    make_trainer: MakeTrainer, tmp_path: Path, damage: str
) -> None:
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1}
    make_trainer(**options).train()
    state = tmp_path / "checkpoint-4" / "trainer_state.json"
    whole = state.read_bytes()
    broken = {"empty": b"", "truncated": whole[: len(whole) // 2], "zeros": bytes(len(whole)), "garbage": b"\xff\xfe{"}
    state.unlink() if damage == "missing" else state.write_bytes(broken[damage])
    steps: list[int] = []

    class Start(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

    trainer = make_trainer(callbacks=[Start()], **{**options, "max_steps": 6})
    trainer.train(resume_from_checkpoint=True)
    assert steps == [3]
    assert trainer.state.global_step == 6


def test_the_newest_complete_checkpoint_is_the_largest_number(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-best", "checkpoint-11"):
        (tmp_path / name).mkdir()
        for part in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):  # as of the plain Trainer
            (tmp_path / name / part).write_text("")
        if name != "checkpoint-11":
            (tmp_path / name / "trainer_state.json").write_text('{"global_step": 1}')
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


BALANCED = {"losses": FEATURES, "balance_losses": True}
STEPS = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
SAVED = [
    "config.json",
    "loss_balance.safetensors",
    "model.safetensors",
    "optimizer.pt",
    "projections.safetensors",
    "rng_state.pth",
    "scheduler.pt",
    "tokenizer.json",
    "trainer_state.json",
    "training_args.bin",
]


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    args = tiny_arguments(folder, **BALANCED, **STEPS)
    data, tokenizer = tiny_data(), tiny_tokenizer()
    DistillationTrainer(tiny_student(), tiny_teacher(), args, train_dataset=data, processing_class=tokenizer).train()
    return folder


def flip_in_the_middle(path: Path) -> None:
    flip_a_byte(path, path.stat().st_size // 2)


DAMAGES = {"missing": Path.unlink, "flipped": flip_in_the_middle, "empty": lambda path: path.write_bytes(b"")}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", SAVED)
def test_a_checkpoint_in_which_anything_is_damaged_is_passed_over(
    two_checkpoints: Path, tmp_path: Path, name: str, damage: str, caplog: Any
) -> None:
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    DAMAGES[damage](tmp_path / "checkpoint-2" / name)
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
    assert "checkpoint-2 is passed over: " in caplog.text


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_of_the_plain_trainer_needs_the_same_parts(
    two_checkpoints: Path, tmp_path: Path, part: str
) -> None:
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoint-2" / "checksums.json").unlink()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-2" / part).unlink()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")


@pytest.mark.parametrize("damage", [*DAMAGES, "none"])
def test_a_checkpoint_whose_best_is_damaged_is_passed_over_where_the_best_is_loaded(
    two_checkpoints: Path, tmp_path: Path, damage: str, caplog: Any
) -> None:
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    best, last = tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"
    state = json.loads((last / "trainer_state.json").read_text())
    (last / "trainer_state.json").write_text(json.dumps({**state, "best_model_checkpoint": str(best)}))
    seal_checkpoint(tmp_path, 2)
    args = tiny_arguments(tmp_path, **STEPS, eval_strategy="steps", eval_steps=1, load_best_model_at_end=True)
    if damage == "none":
        assert checkpoint_to_resume(args) == str(last)
        shutil.rmtree(best)
    else:
        DAMAGES[damage](best / "model.safetensors")
    assert last_complete_checkpoint(tmp_path) == str(last)
    with pytest.raises(DistillationError, match="can be resumed from"):
        checkpoint_to_resume(args)
    assert "checkpoint-2 is passed over: of checkpoint-1, the best until then: " in caplog.text


def test_deepspeed_keeps_all_but_the_random_state_in_a_folder_of_its_own(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-5"
    states = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    for name in ("rng_state_0.pth", "zero_to_fp32.py", *(f"global_step5/{state}" for state in states)):
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_text("")
    (checkpoint / "trainer_state.json").write_text('{"global_step": 5}')
    assert last_complete_checkpoint(tmp_path) == str(checkpoint)
    check_resumable(str(checkpoint))
    shutil.rmtree(checkpoint / "global_step5")
    assert last_complete_checkpoint(tmp_path) is None
    with pytest.raises(DistillationError, match="has no optimizer and no learning rate schedule"):
        check_resumable(str(checkpoint))


def test_what_is_whole_nowhere_is_not_resumed_in_silence(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(**STEPS).train()
    for scheduler in tmp_path.glob("checkpoint-*/scheduler.pt"):
        scheduler.unlink()
    with pytest.raises(DistillationError, match=r"none of the checkpoints in .* can be resumed from"):
        make_trainer(**STEPS).train(resume_from_checkpoint=True)


def test_who_saves_the_model_only_is_told_so_when_resuming(make_trainer: MakeTrainer) -> None:
    options = {**STEPS, "save_only_model": True}
    make_trainer(**options).train()
    with pytest.raises(DistillationError, match=r"checkpoint-2 has no optimizer .*as save_only_model leaves it"):
        make_trainer(**options).train(resume_from_checkpoint=True)


def test_resuming_with_other_losses_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    make_trainer(output_dir=tmp_path / "without", **options).train()
    make_trainer(output_dir=tmp_path / "with", losses=FEATURES[:1], **options).train()
    with pytest.raises(DistillationError, match="no such file"):
        make_trainer(losses=FEATURES, **options).train(
            resume_from_checkpoint=str(tmp_path / "without" / "checkpoint-1")
        )
    for losses in (FEATURES, []):
        with pytest.raises(DistillationError, match="other losses"):
            make_trainer(losses=losses, **options).train(resume_from_checkpoint=str(tmp_path / "with" / "checkpoint-1"))


@pytest.fixture
def warnings_of_transformers(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield caplog
    transformers_logging.disable_propagation()


def test_the_best_student_is_loaded_at_the_end(
    make_trainer: MakeTrainer, tmp_path: Path, warnings_of_transformers: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(
        eval_dataset=tiny_data(6),
        losses=FEATURES,
        max_steps=4,
        learning_rate=0.5,  # so that later steps are worse
        save_strategy="steps",
        eval_strategy="steps",
        save_steps=1,
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="soft_loss",
        eval_soft_loss=True,
    )
    trainer.train()
    losses = [entry["eval_soft_loss"] for entry in trainer.state.log_history if "eval_soft_loss" in entry]
    best = losses.index(min(losses)) + 1
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert_same(load_file(tmp_path / f"checkpoint-{best}" / "model.safetensors"), trainer.model.state_dict())
    warned = [record.getMessage() for record in warnings_of_transformers.records]
    assert not [message for message in warned if "keys" in message]


def test_saving_pickles_the_arguments(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(losses=FEATURES, temperature=3.5)
    trainer.save_model(str(tmp_path / "saved"))
    loaded = torch.load(tmp_path / "saved" / "training_args.bin", weights_only=False)
    assert (loaded.temperature, loaded.losses) == (3.5, FEATURES)
    assert pickle.loads(pickle.dumps(trainer.args)).losses == FEATURES
    assert_no_projections(tmp_path / "saved", trainer.model)


# ---- Losses that are not finite ----


def nan_from(first: int) -> RecordingTeacher:
    return RecordingTeacher(spoil=lambda call, logits: logits * math.nan if call >= first else logits)


@pytest.mark.parametrize("logging", [{"logging_steps": 1}, {"logging_steps": 100}, {"logging_strategy": "no"}])
def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    make_trainer: MakeTrainer, tmp_path: Path, logging: dict[str, Any]
) -> None:
    options = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, **logging}
    trainer = make_trainer(teacher=nan_from(5), **options)
    with pytest.raises(NonFiniteLossError, match=r"soft_loss became NaN.*step 5\b"):
        trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-4"]
    weights = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    again = make_trainer(**options)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 8


def test_a_nan_stops_a_run_that_neither_logs_nor_saves(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(teacher=nan_from(2), logging_strategy="no", max_steps=3)
    with pytest.raises(NonFiniteLossError, match="soft_loss became NaN"):
        trainer.train()


def test_the_filter_of_the_trainer_hides_no_nan(make_trainer: MakeTrainer) -> None:
    with pytest.raises(NonFiniteLossError, match="soft_loss"):
        make_trainer(teacher=nan_from(1), logging_nan_inf_filter=True).train()


def test_a_learning_rate_that_explodes_stops_the_run(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(learning_rate=1e38, max_steps=6, save_strategy="steps", save_steps=1, logging_steps=2)
    with pytest.raises(NonFiniteLossError):
        trainer.train()
    for checkpoint in tmp_path.glob("checkpoint-*"):
        assert all(value.isfinite().all() for value in load_file(checkpoint / "model.safetensors").values())


def test_a_gradient_that_overflows_is_not_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    def overflow(model: PreTrainedModel) -> None:
        next(model.parameters()).grad.fill_(math.inf)

    watcher = Watcher("on_pre_optimizer_step", overflow)
    trainer = make_trainer(callbacks=[watcher], save_strategy="steps", save_steps=1, max_steps=1)
    with pytest.raises(NonFiniteLossError, match="weights"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))
