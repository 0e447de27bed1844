"""Recipes: every key checked with its place, every shipped recipe valid."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from distilnlp.errors import DistillationError
from distilnlp.recipe.defaults import baseline_values, build_arguments, distill_values, finetune_values
from distilnlp.recipe.sections import Recipe, load_recipe
from distilnlp.recipe.text import write_yaml

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
LEAST = {"output": "out", "teacher.model": "teacher", "data.source": "train.csv"}


def recipe(**overrides: Any) -> Recipe:
    return load_recipe(None, {**LEAST, **overrides})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_has_a_header(path: Path, tmp_path: Path) -> None:
    loaded = load_recipe(path)
    for values in (distill_values(loaded), baseline_values(loaded), finetune_values(loaded)):
        build_arguments(values, loaded.seed, tmp_path)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for part in ("Needs:", "Run:", "Expect:"):
        assert any(part in line for line in header), f"{path.name} does not say {part}"


def test_there_are_recipes_to_check() -> None:
    assert {"quickstart", "sst2", "ag_news", "mnli"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"traning": {}}, r"unknown key 'traning'\. Did you mean 'training'"),
        ({"data.txt_columns": ["a"]}, r"unknown key 'data\.txt_columns'\. Did you mean 'text_columns'"),
        ({"training.learning_rat": 1}, r"'learning_rat' is not an argument.*Did you mean 'learning_rate'"),
        ({"training.learning_rate": "fast"}, "learning_rate = 'fast'"),
        ({"training.output_dir": "x"}, "output_dir is decided by the runner; set `output`"),
        ({"training.push_to_hub": True}, "push_to_hub is decided by the runner.*distilnlp push"),
        ({"training.hub_model_id": "me/mine"}, "hub_model_id is decided by the runner.*distilnlp push"),
        ({"training.hub_strategy": "end"}, "hub_strategy is decided by the runner.*distilnlp push"),
        ({"training.parallelism_config": {"a": 1}}, "parallelism_config is decided by the runner"),
        ({"teacher.finetune": {"epochs": 3}}, r"'epochs' is not an argument of TrainingArguments"),
        ({"baseline": {"temprature": 3}}, r"'temprature' is not an argument"),
        ({"student.layer_strategy": "unifrom"}, "Input should be 'uniform', 'first' or 'last'"),
        ({"student.num_layers": True}, "num_layers' = True does not fit: a number is expected"),
        ({"student.layers": [False, True]}, "student.layers.*a number is expected, not true or false"),
        ({"student.num_layers": 0}, "student.num_layers.*greater than or equal to 1"),
        ({"student.num_layers": 1, "student.layers": [0]}, "give num_layers or layers, not both"),
        ({"student.model": "small", "student.num_layers": 2}, "which is not cut: remove num_layers or model"),
        ({"student.layers": [0], "student.layer_strategy": "last"}, "layer_strategy chooses for num_layers"),
        ({"task": "token_clasification"}, "there is no task .*Did you mean 'token_classification'"),
        ({"training.seed": 3}, "seed is decided by the runner; set `seed` of the recipe"),
        ({"data.text_columns": ["a", "b", "c"]}, "at most 2"),
        ({"data.test_size": 1.5}, "data.test_size"),
        ({"output": None}, "'output'"),
        ({"trust_remote_code": "teachr"}, r"^trust_remote_code names 'teachr'.*Did you mean 'teacher'\?$"),
    ],
)
def test_a_wrong_key_or_value_is_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        recipe(**overrides)


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(DistillationError) as caught:
        recipe(**{"data.max_lenght": 3, "student.num_layers": -1})
    assert "data.max_lenght" in str(caught.value)
    assert "student.num_layers" in str(caught.value)


def test_a_home_folder_is_the_same_by_each_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {"teacher.model": ["~/t", "u"], "student.model": "~/s", "output": "~/out"}
    names |= {"data.source": {"train": ["~/a.csv"], "test": "~/b.csv"}, "data.unlabelled": "~/c.csv"}
    loaded = recipe(**names, **{"data.augmentation_model": "~/m", "trust_remote_code": ["~/t", f"{tmp_path}/s", "~/m"]})
    assert loaded.teacher.model == [f"{tmp_path}/t", "u"]
    assert (loaded.student.model, loaded.output) == (f"{tmp_path}/s", f"{tmp_path}/out")
    assert loaded.data.source == {"train": [f"{tmp_path}/a.csv"], "test": f"{tmp_path}/b.csv"}
    assert (loaded.data.unlabelled, loaded.data.augmentation_model) == ([f"{tmp_path}/c.csv"], f"{tmp_path}/m")
    assert loaded.trust_remote_code == [f"{tmp_path}/{name}" for name in "tsm"]
    assert recipe(**{"data.source": "~/f.py:rows"}).data.source == f"{tmp_path}/f.py:rows"


def test_what_is_required_is_said() -> None:
    with pytest.raises(DistillationError, match="'teacher' is missing"):
        load_recipe(None, {"output": "out", "data.source": "train.csv"})


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    content = {"output": "a", "teacher": {"model": "t", "finetune": True}, "data": {"source": "x"}, "seed": 1}
    path.write_text(yaml.safe_dump(content))
    loaded = load_recipe(path, {"output": "b", "training.temperature": 3, "teacher.finetune.learning_rate": "1e-5"})
    assert (loaded.output, loaded.seed) == ("b", 1)
    assert loaded.training == {"temperature": 3.0}
    assert loaded.teacher.finetune == {"learning_rate": 1e-5}  # YAML reads 1e-5 as text


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("output: [")
    with pytest.raises(DistillationError, match=r"no recipe .*recpe\.yaml.*Did you mean 'recipe\.yaml'"):
        load_recipe(tmp_path / "recpe.yaml")
    with pytest.raises(DistillationError, match="not valid YAML"):
        load_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text("- a\n- b\n")
    with pytest.raises(DistillationError, match="must hold keys and values, but it holds list"):
        load_recipe(tmp_path / "recipe.yaml")


def test_the_objective_is_checked_with_the_arguments(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="temperature = -1: Input should be greater than 0"):
        recipe(**{"training.temperature": -1})
    with pytest.raises(DistillationError, match="do not fit together"):
        build_arguments(distill_values(recipe(**{"training.load_best_model_at_end": True})), 0, tmp_path)


def test_the_baseline_differs_only_in_the_labels_and_what_it_says(tmp_path: Path) -> None:
    loaded = recipe(**{"training.learning_rate": 1e-3, "training.temperature": 4, "baseline": {"num_train_epochs": 9}})
    distilled = build_arguments(distill_values(loaded), 3, tmp_path)
    baseline = build_arguments(baseline_values(loaded), 3, tmp_path)
    assert (baseline.learning_rate, baseline.num_train_epochs, baseline.seed) == (1e-3, 9, 3)
    assert (baseline.soft_loss_weight, baseline.hard_loss_weight) == (0, 1)
    assert (distilled.soft_loss_weight, distilled.num_train_epochs, distilled.temperature) == (1, 5, 4)
    assert "temperature" not in baseline_values(loaded)  # what it does not read must not train it again


@pytest.mark.parametrize(
    "own",
    [
        {"student.model": "small"},
        {"student.layers": [0]},
        {"teacher.finetune": {}},
        {"teacher.model": "1e3", "data.label_names": ["no", "1e3", "010"], "training.learning_rate": 1e-5},
    ],
)
def test_a_resolved_recipe_can_be_read_again(own: dict[str, Any], tmp_path: Path) -> None:
    first = recipe(**own)
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(first.model_dump(mode="json")))
    assert load_recipe(file) == first


def test_a_section_without_arguments_means_yes() -> None:
    chosen = recipe(**{"teacher.finetune": {}, "baseline": {}})
    assert chosen.teacher.finetune
    assert chosen.baseline
