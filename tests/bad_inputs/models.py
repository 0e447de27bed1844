"""Models that are wrong in one way each, built on disk when a case first asks for them, and the cases about them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    T5Config,
    ViTConfig,
    ViTForImageClassification,
)

from tests.bad_inputs.case import Case, read, refused
from tests.tiny import SHAPE, TOPICS, tiny_model, tiny_tokenizer
from tests.tiny_tasks import task_model

Builder = Callable[["Models", Path], None]
# The words of the rows that a tiny tokenizer does not have: it would be warned of.
MORE_WORDS = ["was", "well", "good", "dull", "what", "is", *map(str, range(60))]
SIZE = SHAPE["vocab_size"] + len(MORE_WORDS)


class Models:
    """Folders of models by name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> Path:
        folder = self.root / name
        if not folder.exists():
            BUILDERS[name](self, folder)
        return folder


# ---- How they are built ----


def classifier(family: str = "bert", labels: tuple[str, ...] = TOPICS, **shape: Any) -> Builder:
    return lambda models, folder: save(
        tiny_model(family, labels, **{"num_hidden_layers": 2, "vocab_size": SIZE, **shape}), folder
    )


def of_task(task: str) -> Builder:
    return lambda models, folder: save(task_model(task, num_hidden_layers=2, vocab_size=SIZE), folder)


def save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def tokenizer() -> Any:
    made = tiny_tokenizer()
    made.add_tokens(MORE_WORDS)
    return made


def changed(change: Callable[[Path], Any], source: str = "teacher") -> Builder:
    """A copy of another model's folder, with something done to it."""

    def build(models: Models, folder: Path) -> None:
        shutil.copytree(models[source], folder)
        change(folder)

    return build


def with_config(**values: Any) -> Builder:
    return changed(lambda folder: set_json(folder / "config.json", **values))


def with_file(name: str, content: bytes) -> Builder:
    return changed(lambda folder: (folder / name).write_bytes(content))


def without(*names: str) -> Builder:
    return changed(lambda folder: [(folder / name).unlink() for name in names])


def with_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Builder:
    def apply(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    return changed(apply)


def filled(name: str, value: float) -> Builder:
    return with_weights(lambda weights: weights[name].fill_(value))


def set_json(path: Path, **values: Any) -> None:
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def flip_header(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[:8] = b"\xff" * 8
    (folder / WEIGHTS).write_bytes(bytes(content))


def as_pickle(folder: Path) -> None:
    """The weights as a pickle that would run code if it were loaded without care."""

    class Harmful:
        def __reduce__(self) -> Any:
            return (Path.touch, (folder / "was_run",))

    (folder / WEIGHTS).unlink()
    torch.save(Harmful(), folder / "pytorch_model.bin")


def with_code(folder: Path) -> None:
    name = "modeling.Model"
    auto_map = {"AutoConfig": "modeling.Config", "AutoModelForSequenceClassification": name, "AutoModel": name}
    set_json(folder / "config.json", model_type="my_own", auto_map=auto_map)
    (folder / "modeling.py").write_text("raise SystemExit('the code of the folder was run')\n")


def with_missing_shard(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(weights)}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    first = {name: weight for name, weight in weights.items() if names[name].startswith("model-00001")}
    save_file(first, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})


def foreign_tokenizer(folder: Path) -> None:
    """One with more tokens than the model has embeddings."""
    other = tokenizer()
    other.add_tokens([f"word{index}" for index in range(100)])
    other.save_pretrained(folder)


def without_pad(folder: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            set_json(folder / name, pad_token=None)


def bare(models: Models, folder: Path) -> None:
    config = tiny_model(num_hidden_layers=2, vocab_size=SIZE).config
    save(AutoModel.from_config(config), folder)


def untrained(models: Models, folder: Path) -> None:
    torch.manual_seed(0)
    save(
        AutoModelForSequenceClassification.from_config(tiny_model(num_hidden_layers=2, vocab_size=SIZE).config), folder
    )


def adapter(models: Models, folder: Path) -> None:
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "no/such-base", "r": 8, "task_type": "SEQ_CLS"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    tokenizer().save_pretrained(folder)


def other_kind(make: Callable[[], Any]) -> Builder:
    return lambda models, folder: save(make(), folder)


def gpt2() -> Any:
    return AutoModelForCausalLM.from_config(GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=40))


def gpt2_classifier() -> Any:
    config = GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=40, num_labels=3, pad_token_id=0)
    config.id2label = dict(enumerate(TOPICS))
    return AutoModelForSequenceClassification.from_config(config)


def t5() -> Any:
    return AutoModelForSeq2SeqLM.from_config(
        T5Config(vocab_size=SIZE, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )


def vit() -> Any:
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16)
    return ViTForImageClassification(config)


WEIGHTS = "model.safetensors"
STARS = tuple(f"{count} star{'s' if count > 1 else ''}" for count in range(1, 6))
BUILDERS: dict[str, Builder] = {
    "teacher": classifier(),
    "reversed": classifier(labels=TOPICS[::-1]),
    "two": classifier(labels=("negative", "positive")),
    "five": classifier(labels=("arts", "film", "money", "sport", "travel")),
    "stars": classifier(labels=STARS),
    "nli": classifier(labels=("CONTRADICTION", "ENTAILMENT", "NEUTRAL")),
    "placeholders": classifier(labels=("LABEL_0", "LABEL_1", "LABEL_2")),
    "one_label": classifier(labels=("film",)),
    "digits": classifier(labels=("1", "2", "3")),
    "roberta": classifier("roberta"),
    "distilbert": classifier("distilbert"),
    "modernbert": classifier("modernbert"),
    "narrow": classifier(hidden_size=8),
    "short": classifier(max_position_embeddings=4),
    "single": of_task("single_label_classification"),
    "multi": of_task("multi_label_classification"),
    "regression": of_task("regression"),
    "tokens": of_task("token_classification"),
    "questions": of_task("question_answering"),
    "choices": of_task("multiple_choice"),
    "masked": of_task("masked_lm"),
    "bare": bare,
    "untrained": untrained,
    "half": lambda models, folder: save(tiny_model(num_hidden_layers=2, vocab_size=SIZE).to(torch.bfloat16), folder),
    "nan": filled("bert.encoder.layer.1.output.dense.weight", float("nan")),
    "nan_head": filled("classifier.weight", float("nan")),
    "infinite": filled("bert.embeddings.word_embeddings.weight", float("inf")),
    "zero_head": with_weights(lambda weights: [weights[f"classifier.{part}"].zero_() for part in ("weight", "bias")]),
    "no_tokenizer": without("tokenizer.json", "tokenizer_config.json"),
    "foreign_tokenizer": changed(foreign_tokenizer),
    "damaged_tokenizer": with_file("tokenizer.json", b'{"version": "1.0", "model": {'),
    "empty_tokenizer": with_file("tokenizer.json", b""),
    "no_pad": changed(without_pad),
    "no_config": without("config.json"),
    "no_weights": without(WEIGHTS),
    "empty_config": with_file("config.json", b""),
    "list_config": with_file("config.json", b"[]"),
    "damaged_config": with_file("config.json", b'{"model_type": "bert", '),
    "binary_config": with_file("config.json", bytes(range(256))),
    "no_type": with_config(model_type=None),
    "unknown_type": with_config(model_type="bertt"),
    "truncated": changed(truncate),
    "empty_weights": with_file(WEIGHTS, b""),
    "text_weights": with_file(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"),
    "damaged_header": changed(flip_header),
    "missing_shard": changed(with_missing_shard),
    "missing_weight": with_weights(lambda weights: weights.pop("bert.encoder.layer.0.output.dense.weight")),
    "headless_weights": with_weights(
        lambda weights: [weights.pop(f"classifier.{part}") for part in ("weight", "bias")]
    ),
    "another_shape": with_weights(lambda weights: weights.update({"classifier.bias": torch.ones(7)})),
    "fewer_layers": with_config(num_hidden_layers=1),
    "more_layers": with_config(num_hidden_layers=3),
    "no_layers": with_config(num_hidden_layers=0),
    "narrower_config": with_config(hidden_size=8),
    "uneven_heads": with_config(num_attention_heads=3),
    "text_layers": with_config(num_hidden_layers="two"),
    "gap": with_config(id2label={"0": "film", "2": "sport", "3": "money"}, label2id=None),
    "twice": with_config(id2label={"0": "film", "1": "film", "2": "sport"}, label2id=None),
    "pickle": changed(as_pickle),
    "code": changed(with_code),
    "adapter": adapter,
    "empty": lambda models, folder: folder.mkdir(),
    "gpt2": other_kind(gpt2),
    "gpt2_classifier": other_kind(gpt2_classifier),
    "t5": other_kind(t5),
    "vit": other_kind(vit),
}


# ---- The cases ----


def teacher(name: str, message: str, model: str, **keys: Any) -> Case:
    return refused(f"teacher: {name}", message, {"teacher.model": f"@{model}", **keys})


CASES = [
    refused("teacher: no such folder", r"cannot load the model './nowhere'", {"teacher.model": "./nowhere"}),
    refused(
        "teacher: a misspelt folder",
        r"my-techer.*Did you mean 'my-teacher'",
        {"teacher.model": "./my-techer"},
        files={"my-teacher/config.json": "{}"},
    ),
    refused("teacher: a file", r"train\.csv", {"teacher.model": "train.csv"}),
    refused("teacher: a path with a wild card", r"\*", {"teacher.model": "./models/*"}),
    teacher("an empty folder", "empty", "empty"),
    teacher("a bare encoder", r"bare.* no trained head.*teacher\.finetune", "bare"),
    teacher("a head that was never trained", r"untrained.* no trained head.*teacher\.finetune", "untrained"),
    teacher("a head of zeros", "zero_head.* no trained head", "zero_head"),
    teacher("NaN among its weights", "nan.*(NaN|finite|diverged)", "nan"),
    teacher("NaN in its head", "NaN|finite|diverged", "nan_head"),
    teacher("infinite embeddings", "NaN|finite|diverged", "infinite"),
    teacher("no tokenizer", "tokenizer", "no_tokenizer"),
    teacher("a tokenizer with more tokens than embeddings", "tokenizer must fit.*190 tokens", "foreign_tokenizer"),
    teacher("a cut tokenizer.json", "damaged_tokenizer", "damaged_tokenizer"),
    teacher("an empty tokenizer.json", "empty_tokenizer", "empty_tokenizer"),
    teacher("a tokenizer without a pad token", "pad token", "no_pad"),
    teacher("no config.json", "no_config", "no_config"),
    teacher("no weights", "no_weights", "no_weights"),
    teacher("an empty config.json", "empty_config", "empty_config"),
    teacher("a list as config.json", "list_config", "list_config"),
    teacher("a cut config.json", "damaged_config", "damaged_config"),
    teacher("bytes as config.json", "binary_config", "binary_config"),
    teacher("a config without model_type", "no_type.*model_type", "no_type"),
    teacher("an unknown model_type", "unknown_type.*bertt", "unknown_type"),
    teacher("cut weights", "truncated", "truncated"),
    teacher("an empty file of weights", "empty_weights", "empty_weights"),
    teacher("a Git LFS pointer for weights", "text_weights", "text_weights"),
    teacher("weights with a damaged header", "damaged_header", "damaged_header"),
    teacher("a shard that is missing", "missing_shard", "missing_shard"),
    teacher("a weight that is missing", r"missing_weight lacks 1 of the model's weights", "missing_weight"),
    teacher("weights without a head", "headless_weights.* no trained head", "headless_weights"),
    teacher("a head of another size than its config says", "another_shape", "another_shape"),
    teacher("a config with fewer layers than its weights", "fewer_layers.*(layer|weights)", "fewer_layers"),
    teacher("a config with more layers than its weights", "more_layers.*lacks", "more_layers"),
    teacher("a config without layers", "0 layers|no_layers", "no_layers"),
    teacher("a config of another width than its weights", "narrower_config", "narrower_config"),
    teacher("a width that its heads do not divide", "uneven_heads", "uneven_heads"),
    teacher("a number of layers as text", "text_layers", "text_layers"),
    teacher("label ids with a gap", r"id2label.*(lack|must|every)", "gap"),
    teacher("one label name twice", r"(twice|film.*film|same name|different)", "twice"),
    teacher("a pickle that would run code", "pickle", "pickle"),
    teacher("code of its own", r"code.*(trust_remote_code|code of its own|my_own)", "code"),
    teacher("an adapter alone", "adapter", "adapter"),
    teacher("a decoder, GPT-2", "gpt2", "gpt2"),
    teacher("a decoder with a head for classes", "gpt2", "gpt2_classifier"),
    teacher("an encoder-decoder, T5", "t5", "t5"),
    teacher("a model of images", "vit", "vit"),
    teacher("a single label", r"(two labels|one_label|does not know|label)", "one_label"),
    teacher("positions for no text", r"max_length must leave room.*is 4", "short"),
    teacher("a decoder to be fine-tuned", "gpt2", "gpt2", **{"teacher.finetune": True}),
    teacher("a model of images to be fine-tuned", "vit", "vit", **{"teacher.finetune": True}),
    teacher("NaN in an encoder to be fine-tuned", "nan.*(NaN|finite|diverged)", "nan", **{"teacher.finetune": True}),
    teacher("an empty folder to be fine-tuned", "empty", "empty", **{"teacher.finetune": True}),
    refused("teacher: its config.json as path", "config.json", {"teacher.model": "@teacher/config.json"}),
    read("teacher: half precision", 24, {"teacher.model": "@half"}),
    read("teacher: a slash at the end", 24, {"teacher.model": "@teacher/"}),
    read("teacher: its labels in another order", 24, {"teacher.model": "@reversed"}, plan="sport.*money.*film"),
    read("teacher: a Hub id that is not here", None, {"teacher.model": "nobody/nothing"}, plan="NOT CHECKED"),
    refused("evaluate: a student that is no model", "train.csv", argv=["evaluate", "train.csv", "--data", "train.csv"]),
    refused("evaluate: a bare encoder", "bare.* no trained head", argv=["evaluate", "@bare", "--data", "train.csv"]),
    refused("evaluate: NaN among the weights", "NaN|finite|diverged", argv=["evaluate", "@nan", "--data", "train.csv"]),
    refused(
        "evaluate: teacher and student of different tasks",
        "no trained head for single_label_classification|is a model for",
        argv=["evaluate", "@single", "--teacher", "@tokens", "--data", "train.csv"],
    ),
    refused(
        "evaluate: teacher and student of different labels",
        r"(arts|labels)",
        argv=["evaluate", "@teacher", "--teacher", "@five", "--data", "train.csv"],
    ),
]
