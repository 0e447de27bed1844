"""The documentation: complete, true where it can be checked, and every example in it works."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import Features, Value
from transformers import AutoModelForMultipleChoice, AutoModelForQuestionAnswering

import distilnlp
from distilnlp import DistillationTrainer, DistillationTrainingArguments, losses
from distilnlp.augmentation import METHODS
from distilnlp.cli.commands import parser_of, read_words
from distilnlp.data import DataConfig, prepare_data
from distilnlp.objective import LOSSES, Schedule
from distilnlp.objective.layer_mapping import resolve_layer_mapping
from distilnlp.recipe.defaults import build_arguments, distill_values
from distilnlp.recipe.sections import Recipe
from distilnlp.signals import SignalProfile
from distilnlp.students import select_layers
from distilnlp.tasks import TASKS, Task, compute_classification_metrics
from distilnlp.tasks.masked_lm.scores import MaskedTokens
from distilnlp.tasks.token_classification.scores import WordLabels
from distilnlp.validation import Section, parse_section
from tests.conftest import tiny_arguments, tiny_data, tiny_student
from tests.tiny import TOPICS, tiny_model, tiny_rows, tiny_tokenizer

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TASK_PAGES = DOCS / "tasks"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LEAST = {"output": "out", "teacher": {"model": "teacher"}, "data": {"source": "train.jsonl"}}
TEXTS = Features({"text": Value("string"), "label": Value("string")})
LENGTH = 125

# Predictions and labels of each task, as its evaluation reads them.
ANSWERS: dict[str, tuple[Any, Any]] = {
    "single_label_classification": (np.eye(2), np.array([0, 1])),
    "multi_label_classification": (np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]])),
    "regression": (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    "token_classification": ([np.eye(2)], WordLabels(("O", "B-PER"), [np.array([0, 1])])),
    "question_answering": (["Paris", ""], [["in Paris"], [""]]),
    "multiple_choice": (np.eye(2), np.array([0, 1])),
    "masked_lm": ([MaskedTokens(np.array([0.1]), np.array([3]))], [np.array([3])]),
}


# ---- Reading Markdown ----


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(content: str, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks in these languages, as (language, content)."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", content, flags=re.MULTILINE | re.DOTALL)
    return [(language, block) for language, block in found if language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


def rows(content: str) -> list[list[str]]:
    """The rows of all tables, their cells without white space at the ends."""
    lines = [line for line in content.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]


def named_rows(content: str) -> dict[str, list[str]]:
    """Table rows by every name in backticks in their first cell."""
    return {name: row for row in rows(content) for name in re.findall(r"`([^`]+)`", row[0])}


def headings(page: Path, level: str) -> list[str]:
    return re.findall(rf"^{level} (.+)$", prose(page), flags=re.MULTILINE)


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.split()[0]
    _, found, rest = text(page).partition(f"\n{heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def loss_section(name: str) -> str:
    """The section of a loss, and the introduction to its group, which says what its losses have in common."""
    heading = f"\n### `{name}`\n"
    page = text(DOCS / "losses.md")
    assert heading in page, f"docs/losses.md has no section for {name}"
    group = page.partition(heading)[0].rpartition("\n## ")[2]
    return group.partition("\n### ")[0] + section(DOCS / "losses.md", heading.strip())


# ---- The map ----


def test_every_module_and_folder_is_on_the_map_and_nothing_else() -> None:
    package = [path for path in (ROOT / "distilnlp").iterdir() if path.suffix == ".py" or list(path.glob("*.py"))]
    named = named_rows(section(ROOT / "CONTRIBUTING.md", "## Where things are"))
    assert named.keys() == {path.name + "/" * path.is_dir() for path in package}


def test_every_behaviour_is_where_the_map_says() -> None:
    named = [row[1] for row in rows(section(ROOT / "CONTRIBUTING.md", "## Where a behaviour is"))]
    files = [cell.strip("`") for cell in named if cell.startswith("`")]
    assert len(files) >= 20
    assert [file for file in files if not (ROOT / "distilnlp" / file).is_file()] == []


# ---- Losses ----


def test_every_loss_has_its_section_and_no_other_has_one() -> None:
    documented = [heading.strip("`") for heading in headings(DOCS / "losses.md", "###")]
    assert sorted(documented) == sorted(LOSSES)
    assert set(LOSSES) <= set(named_rows(text(DOCS / "losses.md")))  # the table that compares them


@pytest.mark.parametrize("name", LOSSES)
def test_every_option_of_a_loss_is_documented_with_its_default(name: str) -> None:
    said = dict(re.findall(r"`(\w+)`\s\(([^)]+)\)", loss_section(name)))
    options = {key: field.default for key, field in LOSSES[name].model_fields.items()}
    del options["name"], options["weight"]
    for key, default in options.items():
        assert key in said, f"{name}: {key} is not documented as `{key}` (default)"
        assert default is None or said[key].strip("`") == str(default)
    own = {key for key in said if f"`{key}` ({said[key]})" in section(DOCS / "losses.md", f"### `{name}`")}
    assert own <= set(options), f"{name} has no such option"


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_names_its_papers(name: str) -> None:
    compute = losses.hidden_state_mse if name == "embedding_mse" else getattr(losses, name)
    papers = re.findall(r"arXiv (\d{4}\.\d{5})", compute.__doc__)
    assert papers
    for paper in papers:
        assert f"https://arxiv.org/abs/{paper}" in loss_section(name)


def test_every_key_of_a_schedule_is_documented() -> None:
    documented = named_rows(section(DOCS / "losses.md", "## schedules"))
    for key, field in Schedule.model_fields.items():
        assert key in documented
        assert field.is_required() or field.default is None or float(documented[key][2]) == field.default


def test_the_layer_mappings_of_the_table_are_those_that_are_computed() -> None:
    documented = named_rows(section(DOCS / "losses.md", "## layer_mapping"))
    for strategy in ("uniform", "first", "last"):
        pairs = yaml.safe_load(documented[strategy][1].strip("`"))
        assert [tuple(pair) for pair in pairs] == resolve_layer_mapping(strategy, 4, 7)


# ---- Tasks ----


def rows_of_task(page: Path, name: str) -> list[list[str]]:
    return [row for row in rows(text(page)) if f"`{name}`" in row[0]]


def test_every_task_is_in_the_tables() -> None:
    for name, task in TASKS.items():
        losses_row, metrics_row = rows_of_task(DOCS / "tasks.md", name)
        assert f"(tasks/{name}.md)" in losses_row[0]
        served = task.auto_class.__name__ if task.pipeline_options is None else task.pipeline_tag
        assert f"`{served}`" in metrics_row[2]
        assert len(rows_of_task(TASK_PAGES / "in_python.md", name)) == 1  # its columns
    assert {page.stem for page in TASK_PAGES.glob("*.md")} == {*TASKS, "in_python", "adding"}


@pytest.mark.parametrize("name", TASKS)
def test_the_metrics_in_the_table_are_those_that_are_computed(name: str) -> None:
    row = rows_of_task(DOCS / "tasks.md", name)[1]
    computed = TASKS[name].evaluation.scores(*ANSWERS[name]).values()
    assert re.findall(r"`(\w+)`", row[1]) == list(computed)


@pytest.mark.parametrize("name", TASKS)
def test_the_rows_of_a_task_are_read_and_the_last_has_no_label(name: str, tmp_path: Path) -> None:
    part, file = text(TASK_PAGES / f"{name}.md"), tmp_path / "rows.jsonl"
    [(_, fragment)], [(_, lines)] = blocks(part, "yaml"), blocks(part, "json")
    file.write_text(lines, encoding="utf-8")
    values = yaml.safe_load(fragment)
    assert values["task"] == name
    config = DataConfig(**{**values["data"], "source": {"train": str(file), "test": str(file)}})
    data = prepare_data(config, TASKS[name].rows, None)
    assert len(data.train) == len(lines.splitlines())
    has_last = not TASKS[name].rows.needs_labels
    assert TASKS[name].rows.is_labelled(data.train).tolist() == [True] * (len(data.train) - 1) + [has_last]


@pytest.mark.parametrize("name", TASKS)
def test_the_usual_names_of_a_task_s_labels_are_documented(name: str) -> None:
    said = named_rows(text(DOCS / "recipes.md"))[name][2]
    own = TASKS[name].rows
    assert re.findall(r"`(\w+)`", said) == (list(own.usual_labels) if own.needs_labels else [])


def test_every_field_of_a_task_is_documented() -> None:
    table = rows(text(TASK_PAGES / "adding.md"))[1:]
    defaults = {row[0].strip("`"): row[2] for row in table}
    assert defaults.keys() == {name for name in {*vars(Task), *Task.__annotations__} if not name.startswith("_")}
    without = {name for name in Task.__annotations__ if not hasattr(Task, name)} | Task.__abstractmethods__
    assert {name for name, default in defaults.items() if not default} == without


# ---- Recipes and arguments ----


def recipe_keys(part: type[Section] = Recipe, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a recipe with its field, by its dotted name."""
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from recipe_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def test_every_key_of_a_recipe_is_documented_with_its_default() -> None:
    documented = named_rows(section(DOCS / "recipes.md", "## Keys").partition("\n#")[0])
    keys = dict(recipe_keys())
    for key, field in keys.items():
        row = documented.get("training.*" if key == "training" else key)
        assert row is not None, f"docs/recipes.md lacks {key}"
        if isinstance(field.default, bool | int | float | str):
            assert row[2].strip("`").split(",")[0] == str(field.default).replace("True", "true").replace(
                "False", "false"
            )
    dotted = {key for key in documented if re.match(r"(data|student|teacher|evaluation)\.", key)}
    assert dotted <= set(keys)


def test_every_key_of_a_student_is_described() -> None:
    documented = named_rows(text(DOCS / "students.md"))
    assert [key for key, _ in recipe_keys() if key.startswith("student.") and key[8:] not in documented] == []


def test_every_argument_of_our_own_is_documented_with_its_default() -> None:
    documented = named_rows(section(DOCS / "recipes.md", "### The objective"))
    own = [
        field for field in fields(DistillationTrainingArguments) if field.name in vars(DistillationTrainingArguments)
    ]
    own = [field for field in own if field.name in DistillationTrainingArguments.__annotations__]
    assert len(own) >= 8
    for field in own:
        default = "none" if field.default is None else str(field.default).replace("False", "false")
        assert documented[field.name][2].strip("`") == default


def test_the_layers_that_are_named_are_those_that_are_kept() -> None:
    kept = ", ".join(map(str, select_layers(12, 6)))
    assert f"of 12 layers, 6 are {kept}" in " ".join(text(DOCS / "students.md").split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_in_the_text_is_a_key(page: Path) -> None:
    keys = {key for key, _ in recipe_keys()} | {
        f"training.{field.name}" for field in fields(DistillationTrainingArguments)
    }
    flags = set(re.findall(r"--((?:data|student|teacher|training|evaluation)\.\w+)", text(page)))
    assert flags <= keys


# ---- Examples ----


def yaml_blocks() -> list[Any]:
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (_, block) in enumerate(blocks(text(page), "yaml"))
    ]


@pytest.mark.parametrize("block", yaml_blocks())
def test_every_recipe_in_the_text_is_valid(block: str, tmp_path: Path) -> None:
    values = yaml.safe_load(block)
    merged = {**LEAST, **values, "data": {**LEAST["data"], **values.get("data", {})}}
    recipe = parse_section(Recipe, merged)
    args = build_arguments(distill_values(recipe), recipe.seed, tmp_path)
    shape = {"label_names": TOPICS, "num_labels": 3, "num_heads": 12, "model_type": "bert"}
    student = SignalProfile(num_hidden_states=7, hidden_size=24, **shape)
    teacher = SignalProfile(num_hidden_states=13, hidden_size=48, **shape)
    objective = args.build_objective(TASKS[recipe.task or "single_label_classification"], student, teacher)
    expected = (args.hard_loss_weight > 0) + (args.soft_loss_weight > 0) + len(args.parsed_losses)
    assert len(objective.components) == expected


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples take as given, in a folder with the files that they read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(DistillationTrainer, "push_to_hub", lambda self: None)
    student, config = tiny_student(), tiny_model(labels=("start", "end")).config
    models = {
        "out/student": student,
        "out/quickstart/student": student,
        "out/squad/student": AutoModelForQuestionAnswering.from_config(config),
        "out/swag/student": AutoModelForMultipleChoice.from_config(config),
    }
    for folder, model in models.items():
        model.save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    tiny_model(num_hidden_layers=2).save_pretrained("my-classifier")
    tiny_tokenizer().save_pretrained("my-classifier")
    tiny_rows(40).map(lambda row: {"label": TOPICS[row["label"]]}, features=TEXTS).to_csv("train.csv", index=False)
    [(_, tagged)] = blocks(text(TASK_PAGES / "token_classification.md"), "json")
    for split in ("train", "test"):
        Path(f"{split}.jsonl").write_text(tagged, encoding="utf-8")
    train = tiny_data(8, unlabelled=4)
    return {
        "teacher": tiny_model(num_hidden_layers=6),
        "second_teacher": tiny_model("roberta", seed=2),
        "second_tokenizer": tiny_tokenizer(),
        "student": student,
        "tokenizer": tiny_tokenizer(),
        "rows": tiny_rows(8),
        "texts": tiny_rows(8)["text"][:],
        "train": train.add_column("row", list(range(len(train)))),
        "dev": tiny_data(4, seed=1),
        "metrics": compute_classification_metrics,
        "logits": torch.randn(len(train), len(TOPICS)),
        "args": tiny_arguments(tmp_path / "run", max_steps=1),
    }


def python_pages() -> list[Path]:
    return [page for page in PAGES if blocks(text(page), "python")]


@pytest.mark.parametrize("page", python_pages(), ids=lambda page: page.name)
def test_every_python_example_works_and_prints_what_the_text_says(page: Path, names: dict[str, Any]) -> None:
    printed = ""
    for number, (language, block) in enumerate(blocks(text(page), "python", "text")):
        if language == "text":
            assert printed.strip() == block.strip()
            continue
        out = StringIO()
        with redirect_stdout(out):
            exec(compile(block, f"{page.name}, example {number}", "exec"), names)
        printed = out.getvalue()


def test_there_are_examples() -> None:
    assert {page.name for page in python_pages()} == {
        "README.md",
        "deployment.md",
        "in_python.md",
        "migration.md",
        "kept-answers.md",
        "multiple_choice.md",
        "question_answering.md",
        "start.md",
        "students.md",
        "teachers.md",
        "unlabelled.md",
    }
    assert len(yaml_blocks()) > 12


def said_in_code() -> list[re.Pattern[str]]:
    """Every text in the package that is long enough to be a message; what is put into it may be anything."""
    found = []
    for file in (ROOT / "distilnlp").rglob("*.py"):
        for node in ast.walk(ast.parse(text(file))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            fixed = [part.value if isinstance(part, ast.Constant) else "%s" for part in parts]
            if all(isinstance(part, str) for part in fixed) and len("".join(fixed).replace("%s", "")) > 12:
                pieces = re.split(r"%[\d.,]*[sdfg]", " ".join("".join(fixed).split()))
                found.append(re.compile(".*?".join(map(re.escape, pieces))))
    return found


def test_messages_that_are_quoted_are_those_of_the_code() -> None:
    known = said_in_code()
    quoted = [" ".join(block.split()) for _, block in blocks(text(DOCS / "troubleshooting.md"), "text")]
    assert len(quoted) > 10
    assert [said for said in quoted if not any(each.fullmatch(said) for each in known)] == []


def shell_lines() -> list[Any]:
    """Every command in a bash block, and every `distilnlp ...` in the text, by its page."""
    return [
        pytest.param(line, id=f"{page.name}-{' '.join(line.split()[:4])}")
        for page in PAGES
        for line in [
            *(line for _, block in blocks(text(page), "bash") for line in block.replace("\\\n", "").splitlines()),
            *(" ".join(code.split()) for code in re.findall(r"`(distilnlp [^`]+)`", prose(page))),
        ]
    ]


@pytest.mark.parametrize("line", shell_lines())
def test_every_command_in_the_text_can_be_given(line: str) -> None:
    words = list(takewhile(lambda word: word not in (">", "|"), shlex.split(line, comments=True)))
    for word in words:
        path = word.startswith(("recipes/", "accelerate_configs/", "benchmarks/"))
        assert not path or (ROOT / word.partition(":")[0]).exists(), f"{line}: there is no {word}"
        for extra in re.findall(r"distilnlp\[([\w,]+)\]", word):
            assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"])
    if words[0] == "make":
        assert all(f"\n{target}:" in text(ROOT / "Makefile") for target in words[1:])
    if words[0] != "distilnlp" or words[1] in ("--help", "--version"):
        return
    command, *rest = words[1:]
    parser = parser_of(command)  # there is such a command
    if {"-h", "--help"}.isdisjoint(rest) and rest:
        read_words(parser, rest)


@pytest.mark.parametrize("name", METHODS)
def test_every_augmentation_is_documented_with_its_defaults(name: str) -> None:
    row = named_rows(section(DOCS / "unlabelled.md", "## More text out of the rows"))[name]
    said = dict(re.findall(r"`(\w+)` \(([^)]+)\)", row[2]))
    for key, default in said.items():
        assert str(METHODS[name].model_fields[key].default) == default


def test_the_api_page_has_every_public_name_and_no_other() -> None:
    named = re.findall(r"^::: distilnlp\.([\w.]+)$", text(DOCS / "api.md"), flags=re.MULTILINE)
    assert sorted(named) == sorted([*(set(distilnlp.__all__) - {"TASKS"}), "serving.OnnxPredictor"])
    assert "`distilnlp.TASKS`" in text(DOCS / "api.md")


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = re.findall(r"[\w/-]+\.md", text(ROOT / "mkdocs.yml"))
    assert sorted(listed) == sorted(["index.md", *(str(page.relative_to(DOCS)) for page in PAGES[1:])])


# ---- Links and form ----


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page, "#+"))
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {target.name} has no heading for {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short(page: Path) -> None:
    may_be_long = re.compile(r"\||\[\w+\]: https://")  # rows of tables, addresses
    assert [line for line in text(page).splitlines() if len(line) > LENGTH and not may_be_long.match(line)] == []


def test_every_line_of_json_is_json() -> None:
    lines = [line for page in PAGES for _, block in blocks(text(page), "json") for line in block.splitlines()]
    assert all(isinstance(json.loads(line), dict) for line in lines)
