"""The arguments: from the command line, with help, and with every wrong value refused before anything runs."""

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HfArgumentParser, TrainingArguments

from distilnlp import DistillationTrainingArguments
from distilnlp.errors import DistillationError
from tests.conftest import tiny_arguments

OWN_FIELDS = [
    field
    for field in dataclasses.fields(DistillationTrainingArguments)
    if field.name in DistillationTrainingArguments.__annotations__
]


def parse(*options: str) -> DistillationTrainingArguments:
    parser = HfArgumentParser(DistillationTrainingArguments)
    return parser.parse_args_into_dataclasses(["--output_dir", "out", "--use_cpu", "true", *options])[0]


# ---- The command line ----


def test_every_own_field_is_an_option() -> None:
    losses = '[{"name": "hidden_state_mse", "weight": 2, "layer_mapping": [[1, 2]]}]'
    parsed = parse(
        *("--temperature", "4", "--soft_loss_weight", "0.9", "--hard_loss_weight", "0.1"),
        *("--losses", losses, "--teacher_dtype", "float32", "--eval_soft_loss", "--logging_nan_inf_filter", "true"),
        *("--schedules", '{"temperature": {"name": "linear", "end": 1}}', "--balance_losses"),
    )
    assert (parsed.temperature, parsed.soft_loss_weight, parsed.hard_loss_weight) == (4.0, 0.9, 0.1)
    assert parsed.losses == [{"name": "hidden_state_mse", "weight": 2, "layer_mapping": [[1, 2]]}]
    assert (parsed.teacher_dtype, parsed.eval_soft_loss, parsed.logging_nan_inf_filter) == ("float32", True, True)
    assert (parsed.schedules, parsed.balance_losses) == ({"temperature": {"name": "linear", "end": 1}}, True)


def test_the_options_of_the_trainer_keep_their_meaning() -> None:
    assert parse("--learning_rate", "0.25").learning_rate == 0.25


def test_defaults() -> None:
    parsed = parse()
    assert (parsed.temperature, parsed.soft_loss_weight, parsed.hard_loss_weight) == (2.0, 1.0, 0.5)
    assert not parsed.losses
    assert (parsed.schedules, parsed.balance_losses) == (None, False)
    assert (parsed.teacher_dtype, parsed.eval_soft_loss) == ("auto", False)
    assert parsed.logging_nan_inf_filter is False


def test_a_json_file_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "arguments.json"
    path.write_text('{"output_dir": "out", "use_cpu": true, "losses": [{"name": "hidden_state_cosine"}]}')
    parsed = HfArgumentParser(DistillationTrainingArguments).parse_json_file(str(path))[0]
    assert parsed.losses == [{"name": "hidden_state_cosine"}]


@pytest.mark.parametrize("field", OWN_FIELDS, ids=lambda field: field.name)
def test_every_field_has_help(field: dataclasses.Field) -> None:
    assert len(field.metadata["help"]) > 20


def test_no_field_of_the_trainer_is_hidden_but_the_one_that_says_so() -> None:
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {field.name for field in OWN_FIELDS} & inherited == {"logging_nan_inf_filter"}


# ---- Copies ----


def test_arguments_survive_pickling_replacing_and_their_dictionary(tmp_path: Path) -> None:
    arguments = tiny_arguments(tmp_path, losses=[{"name": "hidden_state_mse", "layer_mapping": "last"}])
    for copied in (
        pickle.loads(pickle.dumps(arguments)),
        dataclasses.replace(arguments),
        DistillationTrainingArguments(output_dir=str(tmp_path), use_cpu=True, losses=arguments.to_dict()["losses"]),
    ):
        assert copied.losses == arguments.losses
    assert '"hidden_state_mse"' in arguments.to_json_string()


def test_the_list_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    losses = [{"name": "hidden_state_mse"}]
    tiny_arguments(tmp_path, losses=losses)
    assert losses == [{"name": "hidden_state_mse"}]


# ---- Refusals ----


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("temperature", value) for value in (0, -1, math.nan, math.inf, "hot", None)),
        *(("soft_loss_weight", value) for value in (-0.1, math.nan, math.inf, "much", None)),
        *(("hard_loss_weight", value) for value in (-0.1, math.nan, math.inf)),
        ("label_smoothing_factor", 0.1),
        ("average_tokens_across_devices", False),
        ("use_liger_kernel", True),
        ("losses", {"name": "hidden_state_mse"}),
        ("losses", '{"name": "hidden_state_mse"}'),
        ("losses", "[{'name': 'hidden_state_mse'}]"),
        ("losses", "hidden_state_mse"),
        ("losses", ["hidden_state_mse"]),
        ("losses", 5),
        ("losses", [{"name": "hidden_state_mse", "weight": math.nan}]),
        ("schedules", ["temperature"]),
        ("schedules", "{'temperature': 1}"),
        ("schedules", {"temprature": {"name": "linear", "end": 1}}),
        ("schedules", {"soft_loss": {"name": "linear", "end": -1}}),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(tmp_path: Path, option: str, value: Any) -> None:
    with pytest.raises(DistillationError, match=option):
        tiny_arguments(tmp_path, **{option: value})


def test_an_objective_without_weight_is_refused(tmp_path: Path) -> None:
    nothing = [{"name": "hidden_state_mse", "weight": 0}]
    with pytest.raises(DistillationError, match="every loss weight is zero"):
        tiny_arguments(tmp_path, hard_loss_weight=0, soft_loss_weight=0, losses=nothing)


def test_a_feature_loss_alone_is_an_objective(tmp_path: Path) -> None:
    alone = tiny_arguments(tmp_path, hard_loss_weight=0, soft_loss_weight=0, losses=[{"name": "hidden_state_mse"}])
    assert alone.losses == [{"name": "hidden_state_mse"}]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("bflaot16", "bfloat16"), ("float23", "float32"), ("Auto", "auto"), (torch.float16, "float16")],
)
def test_an_unknown_dtype_is_refused_with_a_suggestion(tmp_path: Path, written: Any, meant: str) -> None:
    with pytest.raises(DistillationError, match=f"teacher_dtype .*{written}.*Did you mean '{meant}'"):
        tiny_arguments(tmp_path, teacher_dtype=written)
