"""Runs: the stages end to end on tiny models, reuse, resumption after a kill, and what is refused before training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction, pipeline

from distilnlp.data import PreparedData
from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe, load_recipe
from distilnlp.runs import dry_run, evaluate_saved, make_plan, run
from distilnlp.runs.describe import labels_text
from distilnlp.runs.folder import alone_in
from distilnlp.runs.stages import Stage
from distilnlp.tasks import SINGLE_LABEL_ROWS, TASKS
from tests.tiny import TOPICS, tiny_model, tiny_rows, tiny_tokenizer
from tests.tiny_tasks import task_student


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a teacher and data."""
    save_model(tmp_path / "teacher", tiny_model(hidden_size=16, num_hidden_layers=2))
    DatasetDict(train=tiny_rows(24, unlabelled=8), test=tiny_rows(12, seed=1)).save_to_disk(str(tmp_path / "data"))
    return tmp_path


def save_model(path: Path, model: Any) -> None:
    model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)


def recipe(folder: Path, **overrides: Any) -> Recipe:
    least = {
        "output": str(folder / "out"),
        "teacher.model": str(folder / "teacher"),
        "data.source": str(folder / "data"),
        "student.num_layers": 1,
        "training.num_train_epochs": 1,
        "training.bf16": False,
        "training.disable_tqdm": True,
        "evaluation.speed": False,
    }
    return load_recipe(None, {**least, **overrides})


def test_a_run_leaves_a_student_that_loads_anywhere(folder: Path) -> None:
    results = run(recipe(folder, **{"baseline": True, "teacher.finetune": {"num_train_epochs": 1}}))
    out = folder / "out"
    assert set(results["models"]) == {"teacher", "student", "baseline"}
    assert json.loads((out / "results.json").read_text()) == results
    classify = pipeline("text-classification", model=str(out / "student"))
    assert classify("the film")[0]["label"] in TOPICS
    assert AutoConfig.from_pretrained(out / "student").num_hidden_layers == 1
    assert not list(out.rglob("training_args.bin"))
    assert not list(out.rglob("checkpoint-*"))
    card = (out / "student" / "README.md").read_text()
    assert "knowledge-distillation" in card
    assert str(folder) not in card  # nothing about this machine
    for name in ("teacher", "student", "baseline"):
        assert f"| {name}" in card


def test_a_distilbert_student_works_in_a_pipeline(folder: Path) -> None:
    """Its tokenizer must not give it segment ids, which it does not take."""
    run(recipe(folder, **{"student.model_type": "distilbert"}))
    tokenizer = AutoTokenizer.from_pretrained(folder / "out" / "student")
    assert set(tokenizer("the film")) == {"input_ids", "attention_mask"}
    assert pipeline("text-classification", model=str(folder / "out" / "student"))("the film")[0]["label"] in TOPICS


def test_a_half_precision_teacher_gives_a_student_trained_in_float32(folder: Path) -> None:
    save_model(folder / "teacher", tiny_model(num_hidden_layers=2).to(torch.bfloat16))
    run(recipe(folder))
    weights = load_file(folder / "out" / "student" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_stages_are_reused_until_something_that_concerns_them_changes(folder: Path, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    options = {"teacher.finetune": {"num_train_epochs": 1}}
    run(recipe(folder, **options))
    before = (folder / "out" / "teacher" / "model.safetensors").stat().st_mtime_ns
    caplog.clear()
    run(recipe(folder, **options))
    assert caplog.text.count(": reused,") == 7  # teacher, student_init, student, predictions, evaluation, card, report
    caplog.clear()
    run(recipe(folder, **options, **{"training.temperature": 4}))
    assert "teacher: reused" in caplog.text
    assert "student: starts again, because these have changed: arguments" in caplog.text
    (folder / "more.txt").write_text("the film\nthe stock\n")
    caplog.clear()
    run(recipe(folder, **options, **{"training.temperature": 4, "data.unlabelled": str(folder / "more.txt")}))
    assert "teacher: reused" in caplog.text  # it learns from the labelled rows alone
    assert "student: starts again, because these have changed: data" in caplog.text
    assert (folder / "out" / "teacher" / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_of_another_run_is_refused_and_overwritten_on_demand(folder: Path) -> None:
    run(recipe(folder))
    other = recipe(folder, **{"data.max_length": 12})
    with pytest.raises(DistillationError, match=r"holds another run: data\.max_length differ"):
        run(other)
    run(other, overwrite=True)
    foreign = folder / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(DistillationError, match="no run of distilnlp wrote"):
            run(recipe(folder, output=str(foreign)), overwrite=overwrite)
    with pytest.raises(DistillationError, match=r"must not hold what the run reads, but .*teacher lies in it"):
        run(recipe(folder, output=str(folder)), overwrite=True)
    with pytest.raises(DistillationError, match="Did you mean 'text'"):  # a typo must not cost the run that is there
        run(recipe(folder, **{"data.text_columns": "txt"}), overwrite=True)
    assert (folder / "out" / "results.json").is_file()
    assert (foreign / "thesis.tex").read_text() == "precious"


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(folder: Path) -> None:
    """No dropout, so that the two runs are the same computation."""
    model = tiny_model(num_hidden_layers=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    save_model(folder / "teacher", model)
    options = {"training.num_train_epochs": 60, "training.save_steps": 3}  # two steps an epoch: some lie within one
    run(recipe(folder, **options, output=str(folder / "whole")))
    killed = recipe(folder, **options)
    words = flags(killed)
    command = [sys.executable, "-m", "distilnlp", "distill", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list((folder / "out" / "work" / "student").glob("checkpoint-*/trainer_state.json")), process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "out" / "student").exists()
    run(killed)
    ours, theirs = (load_file(folder / name / "student" / "model.safetensors") for name in ("out", "whole"))
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6)


def flags(recipe: Recipe) -> list[str]:
    """The recipe as flags of the command line."""
    words = []
    for section, value in recipe.model_dump(mode="json", exclude_defaults=True).items():
        for key, inner in value.items() if isinstance(value, dict) else [("", value)]:
            text = inner if isinstance(inner, str) else json.dumps(inner)
            words += [f"--{section}.{key}".rstrip("."), text]
    return words


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the run ended before it could be killed: {process.communicate()[1][-2000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stage_that_was_cut_off_keeps_its_work_and_one_with_other_inputs_does_not(tmp_path: Path) -> None:
    def fail(work: Path) -> Path:
        (work / "half").write_text("done")
        raise KeyboardInterrupt

    def finish(work: Path) -> Path:
        (work / "whole").write_text(str(sorted(path.name for path in work.iterdir())))
        return work / "whole"

    with pytest.raises(KeyboardInterrupt):
        Stage(tmp_path, "a", "result", {"x": 1}).run(fail)
    assert Stage(tmp_path, "a", "result", {"x": 1}).run(finish).read_text() == "['half']"
    with pytest.raises(KeyboardInterrupt):
        Stage(tmp_path, "a", "result", {"x": 2}).run(fail)
    assert Stage(tmp_path, "a", "result", {"x": 3}).run(finish).read_text() == "[]"


def test_a_plan_says_what_each_label_id_means() -> None:
    def text(names: list[str], ids: list[str]) -> str:
        return labels_text(PreparedData(tiny_rows(1), tiny_rows(1), None, names, SINGLE_LABEL_ROWS, ids))

    assert text(["no", "yes"], []) == ", labels 0 = no, 1 = yes"
    assert text(["no", "yes"], ["yes", "no"]) == ", labels 0 = yes, 1 = no"
    many = text([f"name {index} {'long ' * 999}" for index in range(20_000)], [])
    assert many.endswith("… (20,000 labels)")
    assert len(many) < 1100
    assert text([], []) == ""


def test_the_plan_is_checked_before_training(folder: Path) -> None:
    cases = {
        "no trained head for single_label_classification": {"teacher.model": str(folder / "encoder")},
        r"eval_strategy asks for evaluation.*data\.validation_split": {"training.eval_strategy": "epoch"},
        "eval_on_start asks for evaluation.*or remove eval_on_start": {"training.eval_on_start": True},
        "data.max_length must be at most 40": {"data.max_length": 64},
        r"layer_mapping pair \(5, 1\)": {"training.losses": [{"name": "hidden_state_mse", "layer_mapping": [[5, 1]]}]},
        "cannot load the model": {"teacher.model": str(folder / "nowhere")},
        "cannot load the model .*SafetensorError": {"teacher.model": str(folder / "broken")},
        "num_train_epochs = 0: Input should be greater than 0": {"training.num_train_epochs": 0},
        "per_device_train_batch_size = 0: Input should be greater": {"training.per_device_train_batch_size": 0},
        "layers": {"student.num_layers": None, "student.layers": [7]},
    }
    model = AutoModelForSequenceClassification.from_config(tiny_model().config)
    save_model(folder / "encoder", model)
    save_model(folder / "broken", tiny_model())
    (folder / "broken" / "model.safetensors").write_bytes(b"cut off")
    for message, overrides in cases.items():
        with pytest.raises(DistillationError, match=message):
            make_plan(recipe(folder, **overrides))


def test_a_dry_run_says_what_would_happen_and_writes_nothing(folder: Path) -> None:
    text = dry_run(recipe(folder))
    assert "32 rows, 24 of them with a label" in text
    assert "learning_rate" in text
    assert "cache of the datasets library (/" in text
    assert "was run" not in text
    assert not (folder / "out").exists()


def test_a_dry_run_names_the_code_that_it_ran(folder: Path) -> None:
    code = f"from datasets import load_from_disk\ndef rows(): return load_from_disk({str(folder / 'data')!r})\n"
    (folder / "rows.py").write_text(code)
    text = dry_run(recipe(folder, **{"data.source": f"{folder}/rows.py:rows"}))
    assert f"The Python code of {folder}/rows.py:rows was run" in text


def test_a_misspelt_teacher_is_no_model_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(DistillationError, match="Did you mean 'teacher'"):
        dry_run(recipe(folder, **{"teacher.model": "teachr"}))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_metrics_of_an_evaluation_are_known_before_it(task: str) -> None:
    config = task_student(task).config
    names = list(TASKS[task].evaluation.training_metrics(config))
    compute = TASKS[task].evaluation.compute_metrics(config)
    if compute is None:
        assert names == []
        return
    logits, labels = np.eye(2, max(2, config.num_labels)), np.arange(2)
    if task == "regression":
        logits, labels = np.eye(2, 1), np.eye(2)[0]
    elif task == "multi_label_classification":
        labels = np.eye(*logits.shape)
    elif task == "token_classification":
        logits, labels = logits[None], labels[None]
    assert list(compute(EvalPrediction(predictions=logits, label_ids=labels))) == names != []


def test_a_metric_that_no_evaluation_gives_is_refused(folder: Path) -> None:
    training = {"eval_strategy": "epoch", "load_best_model_at_end": True, "save_strategy": "epoch"}
    options = {f"training.{name}": value for name, value in training.items()} | {"data.validation_split": "test"}
    with pytest.raises(DistillationError, match=r"metric_for_best_model must .*'f1'.*Did you mean 'macro_f1'"):
        make_plan(recipe(folder, **options, **{"training.metric_for_best_model": "f1"}))
    for name in ("eval_macro_f1", "loss"):
        make_plan(recipe(folder, **options, **{"training.metric_for_best_model": name}))


def test_texts_are_as_long_as_asked_with_a_word_on_the_tokenizer(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(folder / "longer", tiny_model(num_hidden_layers=2, max_position_embeddings=64))
    longer = {"teacher.model": str(folder / "longer")}
    assert make_plan(recipe(folder, **longer)).max_length == 40
    assert not [message for message in caplog.messages if "cut after" in message]
    asked = recipe(folder, **longer, **{"data.max_length": 50})
    assert make_plan(asked).max_length == 50
    evaluate_saved(str(folder / "longer"), asked.data)
    warned = [message for message in caplog.messages if "cut after 50 tokens, as asked" in message]
    assert len(warned) == 2


def test_a_dry_run_without_the_model_checks_the_data(folder: Path) -> None:
    absent = {"teacher.model": "nobody/nothing"}
    text = dry_run(recipe(folder, **absent))
    assert "NOT CHECKED" in text
    assert "The data is fine: 32 rows" in text
    with pytest.raises(DistillationError, match="Did you mean 'text'"):
        dry_run(recipe(folder, **absent, **{"data.text_columns": "txt"}))


def test_a_saved_student_is_measured_beside_its_teacher(folder: Path) -> None:
    run(recipe(folder))
    data = recipe(folder).data
    reports = evaluate_saved(str(folder / "out" / "student"), data, str(folder / "teacher"))
    results = json.loads((folder / "out" / "results.json").read_text())["models"]
    assert reports["student"]["metrics"] == results["student"]["metrics"]
    assert reports["student"]["fidelity"] == results["student"]["fidelity"]
    assert list(evaluate_saved(str(folder / "teacher"), data)) == ["student"]


def test_two_processes_do_the_same_run(folder: Path) -> None:
    """The whole of it under a launcher: one set of files, written once."""
    wanted = recipe(folder, export=False, **{"training.per_device_train_batch_size": 4, "training.max_steps": 4})
    words = flags(wanted)
    root = Path(__file__).parent.parent
    config = str(root / "accelerate_configs" / "cpu.yaml")
    command = ["accelerate.commands.launch", "--config_file", config, "--main_process_port", "0"]
    launched = [sys.executable, "-m", *command, str(root / "recipes" / "distill.py"), *words]
    environment = {key: value for key, value in os.environ.items() if key != "ACCELERATE_USE_CPU"}
    done = subprocess.run(launched, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "out" / "results.json").read_text())
    assert set(results["models"]) == {"teacher", "student"}
    assert results["processes"] == 2


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    (folder / "out").mkdir()
    with alone_in(folder / "out"), pytest.raises(DistillationError, match="another process is at work"):
        run(recipe(folder))
    assert set(run(recipe(folder))["models"]) == {"teacher", "student"}


def test_an_output_that_cannot_be_a_folder_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "link").symlink_to(folder / "nowhere")
    for name in ("file", "file/below", "link", "x" * 300, "nul\0"):
        with pytest.raises(DistillationError, match=r"output.* must be a (folder|text|path)"):
            run(recipe(folder, output=f"{folder}/{name}"))


@pytest.mark.parametrize(
    "options",
    [
        {"adam_beta1": 2},
        {"report_to": "nonsense"},
        {"dataloader_num_workers": -1},
        {"save_strategy": "best"},
        {"fsdp": "full_shard"},
        {"optim": "adamw_bnb_8bit"},
    ],
)
def test_what_the_trainer_cannot_do_is_known_before_training(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(DistillationError, match=r"cannot be honoured|do not fit together|does not fit"):
        make_plan(recipe(folder, **{f"training.{name}": value for name, value in options.items()}))


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    tiny_model(vocab_size=8).save_pretrained(folder / "teacher")
    with pytest.raises(DistillationError, match="the tokenizer must fit the model, but it has 24 tokens"):
        make_plan(recipe(folder))


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "teacher" / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1." not in name}
    save_file(kept, folder / "teacher" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DistillationError, match="of the model's weights, which would be random"):
        make_plan(recipe(folder))
    with pytest.raises(DistillationError, match="which would be random"):
        evaluate_saved(str(folder / "teacher"), recipe(folder).data)


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    for path in (folder / "teacher").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(DistillationError, match=r"tokenizer must fit the model|cannot load the model"):
        make_plan(recipe(folder))


def test_trainings_are_as_long_as_their_rows_need(folder: Path) -> None:
    plan = make_plan(recipe(folder, **{"baseline": True, "teacher.finetune": True, "training.num_train_epochs": 6}))
    epochs = {name: values["num_train_epochs"] for name, values in plan.trainings.items()}
    assert epochs == {"student": 6, "teacher": 200, "baseline": 8}  # 32 rows, of which 24 have a label; batches of 16
    fixed = {"baseline": {"num_train_epochs": 2}, "teacher.finetune": {"max_steps": 7}}
    trainings = make_plan(recipe(folder, **fixed)).trainings
    assert trainings["baseline"]["num_train_epochs"] == 2
    assert trainings["teacher"]["max_steps"] == 7


# ---- Architectures that no student is cut from ----


@pytest.mark.parametrize("architecture", ["bart", "canine", "perceiver", "t5"])
def test_an_architecture_of_its_own_is_a_teacher_of_a_student_of_its_own(folder: Path, architecture: str) -> None:
    save_model(folder / "other", tiny_model(architecture))
    other = {"teacher.model": str(folder / "other")}
    student = {"student.num_layers": None, "student.model": str(folder / "teacher")}
    assert f": {architecture}, " in " ".join(dry_run(recipe(folder, **other, **student)).split())
    with pytest.raises(DistillationError, match=rf"cut from the families .*got '{architecture}'.*student\.model"):
        dry_run(recipe(folder, **other))
