"""Recipes as files: what YAML makes of them, and keys that there are not."""

from pathlib import Path
from typing import Any

from tests.bad_inputs.case import Case, Content, read, refused

START = "output: out\nteacher: {model: '@teacher'}\n"
BASE = f"{START}data: {{source: train.csv}}\n"


def recipe(name: str, content: Content, message: str, **options: Any) -> Case:
    return refused(f"recipe: {name}", message, files={"recipe.yaml": content}, **options)


def good(name: str, content: Content, rows: int | None = 24, **options: Any) -> Case:
    return read(f"recipe: {name}", rows, files={"recipe.yaml": content}, **options)


def link_to_the_file(path: Path) -> None:
    (path.parent / "real.yaml").write_text(BASE.replace("'@teacher'", "nobody/nothing"))
    path.symlink_to("real.yaml")


def unknown(key: str, near: str, text: str) -> Case:
    return recipe(f"unknown key {key}", text, f"{key}.*Did you mean '{near}'")


BOMB = "bomb: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"bomb{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)

CASES = [
    recipe("nothing in it", "", "must hold keys and values"),
    recipe("comments alone", "# to do\n", "must hold keys and values"),
    recipe("a list", "- output\n- teacher\n", "must hold keys and values, but it holds list"),
    recipe("a word", "distil\n", "must hold keys and values, but it holds str"),
    recipe("a number", "42\n", "must hold keys and values, but it holds int"),
    recipe("a bracket that is never closed", f"{BASE}training: {{losses: [\n", "not valid YAML"),
    recipe("a quote that is never closed", f'{BASE}task: "single\n', "not valid YAML"),
    recipe("a tab as indentation", f"{START}data:\n\tsource: train.csv\n", r"not valid YAML.*\\t"),
    recipe("a colon in a value", f"{START}data: {{source: train.csv}}\ntask: a: b\n", "not valid YAML"),
    recipe("two documents", f"{BASE}---\n{BASE}", "not valid YAML.*single document"),
    recipe("an alias of nothing", f"{BASE}seed: *seed\n", "not valid YAML.*seed"),
    recipe("an alias of itself", f"{BASE}training: &a {{losses: [*a]}}\n", "training|losses|in itself"),
    recipe("a key twice", f"{BASE}seed: 1\nseed: 2\n", "seed"),
    recipe("a key twice in a section", f"{BASE}training: {{temperature: 1, temperature: 2}}\n", "temperature"),
    recipe("a section twice", f"{BASE}training: {{temperature: 1}}\ntraining: {{learning_rate: 1}}\n", "training"),
    recipe("a tag that would run code", f"{BASE}seed: !!python/object/apply:os.mkdir [owned]\n", "not valid YAML"),
    recipe("a tag that nobody knows", f"{BASE}training: !include training.yaml\n", "not valid YAML.*!include"),
    recipe("a bomb of aliases", f"{BASE}{BOMB}", "bomb|alias"),
    recipe("10,000 brackets", f"{BASE}training: {'[' * 10_000}\n", "YAML|nest|deep"),
    recipe("a number of 5,000 digits", f"{BASE}seed: {'9' * 5000}\n", "seed|digits|YAML"),
    recipe("a key that is a list", f"{BASE}? [a, b]\n: c\n", "not valid YAML"),
    recipe("a key that is a number", f"{BASE}7: c\n", "7"),
    recipe("a key that is null", f"{BASE}~: c\n", "None|null|~"),
    recipe("a key of 100,000 characters", f"{BASE}{'k' * 100_000}: 1\n", "kkk|not valid YAML"),
    recipe("a text of 100,000 characters for a number", f"{BASE}seed: {'x' * 100_000}\n", "seed"),
    recipe("300 unknown keys", BASE + "".join(f"key{index}: 1\n" for index in range(300)), "key0"),
    recipe("Latin-1", f"{BASE}task: Prüfung\n".encode("latin-1"), "UTF-8"),
    recipe("the bytes of a model", bytes(range(256)) * 4, "UTF-8"),
    recipe("a control character", f"{BASE}task: 'a\x07b'\n", "YAML"),
    recipe("a folder", lambda path: path.mkdir(), "there is no recipe"),
    recipe(
        "a time of day for a length", f"{START}data: {{source: train.csv, max_length: 1:30}}\n", "max_length|base 60"
    ),
    recipe("yes for a seed", f"{BASE}seed: yes\n", "seed"),
    recipe("on for a length", f"{START}data: {{source: train.csv, max_length: on}}\n", "max_length"),
    recipe("true for a depth", f"{BASE}student: {{num_layers: true}}\n", "num_layers"),
    recipe("true for a temperature", f"{BASE}training: {{temperature: true}}\n", "temperature"),
    recipe(
        "labels no and yes without quotes", f"{START}data: {{source: train.csv, label_names: [no, yes]}}\n", "label"
    ),
    recipe("a number for a folder", "output: 12\nteacher: {model: x}\ndata: {source: train.csv}\n", "output"),
    recipe("nothing for a folder", "output:\nteacher: {model: x}\ndata: {source: train.csv}\n", "output"),
    recipe("no output", "teacher: {model: x}\ndata: {source: train.csv}\n", "'output' is missing"),
    recipe("no teacher", "output: out\ndata: {source: train.csv}\n", "'teacher' is missing"),
    recipe("no data", START, "'data' is missing"),
    recipe("no source", f"{START}data: {{max_length: 32}}\n", r"'data\.source' is missing"),
    recipe("an empty section teacher", "output: out\nteacher:\ndata: {source: train.csv}\n", "teacher"),
    recipe("an empty section data", f"{START}data:\n", "data"),
    recipe("a word for the section teacher", "output: out\nteacher: bert\ndata: {source: train.csv}\n", "teacher"),
    recipe("a word for the section data", f"{START}data: train.csv\n", "data"),
    recipe("a list for the section training", f"{BASE}training: [temperature]\n", "training"),
    recipe("a word for the section student", f"{BASE}student: small\n", "student"),
    recipe("dotted keys in the file", f"{BASE}training.temperature: 2\n", r"training\.temperature"),
    recipe("a flag's dashes in a key", f"{BASE}student: {{num-layers: 2}}\n", "num-layers.*Did you mean 'num_layers'"),
    recipe("the Trainer's keys outside of training", f"{BASE}learning_rate: 1.0e-4\n", "learning_rate"),
    unknown("traning", "training", f"{BASE}traning: {{}}\n"),
    unknown("sorce", "source", f"{START}data: {{sorce: train.csv}}\n"),
    unknown("txt_columns", "text_columns", f"{START}data: {{source: train.csv, txt_columns: [a]}}\n"),
    unknown("modle", "model", "output: out\nteacher: {modle: x}\ndata: {source: train.csv}\n"),
    unknown("num_layer", "num_layers", f"{BASE}student: {{num_layer: 2}}\n"),
    unknown("bootstrap_samples", "bootstrap_resamples", f"{BASE}evaluation: {{bootstrap_samples: 200}}\n"),
    unknown("learning_rat", "learning_rate", f"{BASE}training: {{learning_rat: 1}}\n"),
    unknown("temprature", "temperature", f"{BASE}training: {{temprature: 1}}\n"),
    unknown("num_train_epoch", "num_train_epochs", f"{BASE}baseline: {{num_train_epoch: 1}}\n"),
    unknown("weigth", "weight", f"{BASE}training: {{losses: [{{name: pkd, weigth: 1}}]}}\n"),
    unknown("warm_up", "warmup", f"{BASE}training: {{schedules: {{temperature: {{name: linear, warm_up: 1}}}}}}\n"),
    unknown(
        "probabilty",
        "probability",
        f"{START}data: {{source: train.csv, augmentation: [{{name: mask_words, probabilty: 1}}]}}\n",
    ),
    refused(
        "recipe: a misspelt file",
        r"recpe\.yaml.*Did you mean 'recipe\.yaml'",
        files={"recipe.yaml": BASE},
        argv=["distill", "recpe.yaml", "--dry-run"],
    ),
    refused("recipe: a device", "there is no recipe", argv=["distill", "/dev/zero", "--dry-run"]),
    refused("recipe: an empty name", "recipe", argv=["distill", "", "--dry-run"]),
    refused("recipe: a name of 5,000 characters", "recipe", argv=["distill", "x" * 5000, "--dry-run"]),
    refused("recipe: NUL in the name", "recipe", argv=["distill", "a\0b", "--dry-run"]),
    refused(
        "recipe: a link to itself",
        "recipe",
        argv=["distill", "loop.yaml", "--dry-run"],
        files={"loop.yaml": lambda path: path.symlink_to(path)},
    ),
    good(
        "a date for a folder",
        "output: 2024-01-01\nteacher: {model: nobody/nothing}\ndata: {source: train.csv}\n",
        rows=None,
        plan="NOT CHECKED",
    ),
    good("a byte order mark", b"\xef\xbb\xbf" + BASE.encode()),
    good("lines that end as in Windows", BASE.replace("\n", "\r\n")),
    good("JSON", '{"output": "out", "teacher": {"model": "@teacher"}, "data": {"source": "train.csv"}}'),
    good("keys shared by an anchor", f"{BASE}seed: &s 300\nevaluation: {{bootstrap_resamples: *s}}\n"),
    good(
        "a link to the file",
        link_to_the_file,
        rows=None,
        plan="NOT CHECKED",
    ),
]
