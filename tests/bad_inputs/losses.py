"""Losses and schedules: names, options, layers, and what cannot be for these models."""

from typing import Any

from tests.bad_inputs.case import Case, lines, refused


def loss(name: str, message: str, entry: str, **keys: Any) -> Case:
    own = {key.replace("__", "."): value for key, value in keys.items()}
    return refused(f"losses: {name}", message, {"training.losses": f"[{entry}]", **own})


def losses(name: str, message: str, value: Any) -> Case:
    return refused(f"losses: {name}", message, {"training.losses": value})


def schedule(name: str, message: str, value: Any, **keys: Any) -> Case:
    own = {f"training.{key}": entry for key, entry in keys.items()}
    return refused(f"schedules: {name}", message, {"training.schedules": value, **own})


REGRESSION = {"teacher__model": "@regression", "data__source": "scores.jsonl"}
SCORES = {"scores.jsonl": lines(*({"text": f"the film {index}", "label": index / 7} for index in range(24)))}


def of_scores(name: str, message: str, entry: str) -> Case:
    keys = {"training.losses": f"[{entry}]", "teacher.model": "@regression", "data.source": "scores.jsonl"}
    return refused(f"losses: {name}", message, keys, files=SCORES)


CASES = [
    losses("a word", "losses", "pkd"),
    losses("a number", "losses", 3),
    losses("a mapping", "losses", "{name: pkd}"),
    losses("a list of words", "losses.*dictionary", "[pkd]"),
    losses("a list of nothing", "losses.*dictionary", "[null]"),
    losses("a list of lists", "losses.*dictionary", "[[pkd]]"),
    losses("one twice", "'pkd' twice", "[{name: pkd}, {name: pkd}]"),
    losses("the second is wrong", r"losses\[1\].*Did you mean 'pkd'", "[{name: dkd}, {name: pdk}]"),
    losses("a hundred unknown", r"losses\[0\]", [{"name": f"loss_{index}"} for index in range(100)]),
    loss("no name", r"losses\[0\]\.name.*missing", "{weight: 1}"),
    loss("an unknown name", "Did you mean 'hidden_state_mse'", "{name: hidden_states_mse}"),
    loss("an empty name", "names no loss", "{name: ''}"),
    loss("a name of another type", "name", "{name: 3}"),
    loss("a name of 100,000 characters", "losses.*name", f"{{name: {'x' * 100_000}}}"),
    loss("the soft loss by name", "soft_loss", "{name: soft_loss}"),
    loss("an option of another loss", "num_relation_heads", "{name: pkd, num_relation_heads: 2}"),
    loss("a negative weight", "weight", "{name: pkd, weight: -1}"),
    loss("a weight of NaN", "weight", "{name: pkd, weight: .nan}"),
    loss("a weight of infinity", "weight", "{name: pkd, weight: .inf}"),
    loss("a weight in words", "weight", "{name: pkd, weight: heavy}"),
    loss("a weight of true", "weight", "{name: pkd, weight: true}"),
    loss("a temperature of zero", "temperature", "{name: dkd, temperature: 0}"),
    loss("a temperature of NaN", "temperature", "{name: dkd, temperature: .nan}"),
    loss("parts without weight", "every part of dkd", "{name: dkd, target_weight: 0, non_target_weight: 0}"),
    loss("a negative part", "target_weight", "{name: dkd, target_weight: -1}"),
    loss("an unknown mapping", "layer_mapping.*Did you mean 'uniform'", "{name: pkd, layer_mapping: unifrom}"),
    loss("an empty mapping", "layer_mapping is empty", "{name: pkd, layer_mapping: []}"),
    loss("one number as mapping", "layer_mapping", "{name: pkd, layer_mapping: 1}"),
    loss("a pair as mapping", "layer_mapping", "{name: pkd, layer_mapping: [1, 2]}"),
    loss("triples as mapping", "layer_mapping", "{name: pkd, layer_mapping: [[1, 2, 3]]}"),
    loss("words as mapping", "layer_mapping", "{name: pkd, layer_mapping: [[one, two]]}"),
    loss("fractions as mapping", "layer_mapping", "{name: pkd, layer_mapping: [[1.0, 2.0]]}"),
    loss("truth values as mapping", "layer_mapping", "{name: pkd, layer_mapping: [[true, true]]}"),
    loss("a student's layer too many", "student's index", "{name: pkd, layer_mapping: [[2, 2]]}"),
    loss("a teacher's layer too many", "teacher's index", "{name: pkd, layer_mapping: [[1, 3]]}"),
    loss("a negative layer", "student's index", "{name: pkd, layer_mapping: [[-1, 2]]}"),
    loss("learned where it cannot be", "learned works with hidden_state_mse", "{name: pkd, layer_mapping: learned}"),
    loss("margin of nothing", "greater than 0", "{name: activation_boundary, margin: 0}"),
    loss("neurons of the embeddings", "embeddings", "{name: activation_boundary, layer_mapping: [[0, 1]]}"),
    loss("attention of the embeddings", "embeddings", "{name: attention_kl, layer_mapping: [[0, 1]]}"),
    loss("an unknown projection", "projection", "{name: pkd, projection: none}"),
    loss(
        "relation heads that do not divide", "num_relation_heads must divide", "{name: minilmv2, num_relation_heads: 3}"
    ),
    loss("no relation heads", "num_relation_heads", "{name: minilmv2, num_relation_heads: 0}"),
    loss("relations of a layer too many", "teacher's index", "{name: minilmv2, teacher_layer: 9}"),
    loss("relations of layer zero", "student_layer", "{name: minilmv2, student_layer: 0}"),
    loss("relations without weight", "every part", "{name: minilmv2, query_weight: 0, key_weight: 0, value_weight: 0}"),
    loss("heads of other numbers", "minilmv2", "{name: minilm}", student__hidden_size=8),
    loss("pairs in batches of one", "at least 2", "{name: rkd_distance}", training__per_device_train_batch_size=1),
    loss("triples in batches of two", "at least 3", "{name: rkd_angle}", training__per_device_train_batch_size=2),
    loss("layers of an ensemble", "hidden states", "{name: pkd}", teacher__model="[@teacher, @reversed]"),
    loss("layers of several folds", "hidden states", "{name: pkd}", teacher__finetune=True, teacher__folds=2),
    loss("plain scores of a family without", "modernbert", "{name: minilm}", teacher__model="@modernbert"),
    loss("a loss of three classes for two", "3 classes", "{name: dkd}", teacher__model="@two", data__source="two.csv"),
    of_scores("classes of a score", "regression do not fit", "{name: forward_kl}"),
    of_scores("targets of a score", "regression do not fit", "{name: dkd}"),
    schedule("a word", "schedules", "linear"),
    schedule("a list", "schedules", "[linear]"),
    schedule("of what is not there", "Did you mean 'temperature'", "{temperatur: {name: linear, end: 1}}"),
    schedule("of a loss that is off", "weight|schedule", "{hard_loss: {name: linear, end: 1}}", hard_loss_weight=0),
    schedule("without a name", "schedules.temperature.name", "{temperature: {end: 1}}"),
    schedule("a word for one", "schedules.temperature", "{temperature: linear}"),
    schedule("of an unknown shape", "'constant', 'linear' or 'cosine'", "{temperature: {name: step, end: 1}}"),
    schedule("that changes nothing", "changes nothing", "{temperature: {name: linear}}"),
    schedule("constant with an end", "has no end", "{temperature: {name: constant, end: 1}}"),
    schedule("to a temperature of zero", "must stay positive", "{temperature: {name: linear, end: 0}}"),
    schedule("to a negative weight", "end", "{soft_loss: {name: linear, end: -1}}"),
    schedule("to NaN", "end", "{soft_loss: {name: linear, end: .nan}}"),
    schedule("with a warm-up of all", "warmup", "{soft_loss: {name: linear, end: 1, warmup: 1}}"),
    schedule("with a start and no warm-up", "start", "{temperature: {name: linear, end: 1, start: 4}}"),
    schedule("with an unknown key", "Did you mean 'warmup'", "{soft_loss: {name: linear, warm: 1}}"),
]
CASES = [
    Case(
        **{
            **vars(case),
            "files": {**case.files, "two.csv": "text,label\n" + "a film,negative\na match,positive\n" * 12},
        }
    )
    if case.keys.get("data.source") == "two.csv"
    else case
    for case in CASES
]
