"""Students as ONNX graphs: the logits of torch for every task and family, int8 that is accepted or not, serving."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertTokenizer, pipeline

from distilnlp.cli.commands import main
from distilnlp.data import DataConfig
from distilnlp.errors import DistillationError
from distilnlp.export import EXECUTORCH, ONNX, OPENVINO, ExportConfig, Int8, Runtime, export_graph, precision, quantize
from distilnlp.export.graph import check_logits
from distilnlp.export.runtimes import layer_of
from distilnlp.export.with_tokenizer import TextGraph
from distilnlp.files import checksums
from distilnlp.models.families import FAMILIES
from distilnlp.runs import export_saved
from distilnlp.runs.exporting import Export
from distilnlp.serving import FP32, INT8, OnnxPredictor, softmax
from distilnlp.tasks import TASKS
from tests.test_task_runs import RANDOM, row_of
from tests.tiny import tiny_model, tiny_tokenizer
from tests.tiny_tasks import task_model

NOT_EXPORTED = ("longformer",)  # its attention goes in chunks, whose number torch.export cannot tell
TEXTS = ["the film plot", "a stock market rate price", "the team goal goal score the coach", "a"]


def saved(folder: Path, model: Any, **config: Any) -> str:
    for name, value in config.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def rows_file(folder: Path, task: str, count: int = 12) -> DataConfig:
    RANDOM.seed(1)
    file = folder / f"{task}.jsonl"
    file.write_text("".join(json.dumps(row_of(task, index)) + "\n" for index in range(count)))
    return DataConfig(source=str(file), **({"stride": 4} if task == "question_answering" else {}))


# ---- The graph ----


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_exported_with_the_logits_of_torch_and_in_int8(tmp_path: Path, task: str) -> None:
    model = task_model(task, labels={"token_classification": ("O", "B-P", "I-P")}.get(task), num_hidden_layers=2)
    student = saved(tmp_path / "student", model)
    (made,) = export_saved(student, ExportConfig(min_agreement=0), rows_file(tmp_path, task), task)
    assert made.int8 is not None
    assert (made.rows, made.int8.is_accepted, list(made.graphs)) == (12, True, [FP32, INT8])
    assert Export.read(tmp_path / "student" / "onnx") == made
    names = tiny_tokenizer().model_input_names
    graph = ONNX.load(tmp_path / "student" / FP32, model.config, names)
    check_logits(model, graph, names, TASKS[task])  # it was checked before: once more


@pytest.mark.parametrize("runtime", [OPENVINO, EXECUTORCH], ids=lambda runtime: runtime.title)
@pytest.mark.parametrize("task", TASKS)
def test_other_runtimes_give_the_logits_of_torch(tmp_path: Path, task: str, runtime: Runtime) -> None:
    pytest.importorskip(runtime.packages[0], reason=f"{runtime.packages[0]} is not installed")
    model = task_model(task, num_hidden_layers=1)
    path = tmp_path / Path(runtime.file).name
    graph = export_graph(model, tiny_tokenizer(), TASKS[task], path, runtime)  # compares them
    assert graph.bytes > path.stat().st_size / 2
    assert str(Path(sys.prefix)).encode() not in path.read_bytes()
    with torch.no_grad():
        next(iter(model.base_model.parameters())).mul_(1.5)
    with pytest.raises(DistillationError, match="from those of torch"):
        check_logits(model, graph, graph.inputs, TASKS[task])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exported_with_the_logits_of_torch(tmp_path: Path, family: str) -> None:
    model, tokenizer = tiny_model(family, num_hidden_layers=2), tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if family in NOT_EXPORTED:
        with pytest.raises(DistillationError, match=r"cannot be exported to ONNX|logits that are up to"):
            export_graph(model, tokenizer, TASKS["single_label_classification"], tmp_path / "model.onnx", ONNX)
        assert not list(tmp_path.iterdir())
        return
    export_graph(model, tokenizer, TASKS["single_label_classification"], tmp_path / "model.onnx", ONNX)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.output][:1] == ["logits"]


def test_a_graph_says_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_graph(tiny_model(num_hidden_layers=2), tiny_tokenizer(), TASKS["single_label_classification"], path, ONNX)
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(sys.prefix)).encode() not in content
    layers = {layer_of(node) for node in onnx.load(path).graph.node}
    assert layers == {"", "0", "1"}


def test_a_graph_with_other_logits_is_refused(tmp_path: Path) -> None:
    task, model = TASKS["single_label_classification"], tiny_model(num_hidden_layers=2)
    graph = export_graph(model, tiny_tokenizer(), task, tmp_path / "model.onnx", ONNX)
    with torch.no_grad():
        model.classifier.bias[0] += 0.01
    with pytest.raises(DistillationError, match=r"up to 0\.01 from those of torch"):
        check_logits(model, graph, graph.inputs, task)


# ---- int8 ----


def graph_of(folder: Path, layers: int = 3) -> Path:
    path = folder / "model.onnx"
    export_graph(
        tiny_model(num_hidden_layers=layers), tiny_tokenizer(), TASKS["single_label_classification"], path, ONNX
    )
    return path


def test_layers_that_do_not_bear_int8_stay_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[set[str]] = []
    layers = precision._parts(graph_of(tmp_path))
    assert list(layers) == ["embeddings", "0", "1", "2"]
    of_node = {node: layer for layer, nodes in layers.items() for node in nodes}

    def agree(_: Path) -> float:
        # Layer 1 alone costs nine points, layer 2 one.
        return 1 - 0.09 * ("1" not in tried[-1]) - 0.01 * ("2" not in tried[-1])

    original = precision._write

    def spy(source: Path, target: Path, in_int8: Any, calibration: Any) -> None:
        tried.append({*layers} - {of_node[node] for node in in_int8})
        original(source, target, in_int8, calibration)

    monkeypatch.setattr(precision, "_write", spy)
    target = tmp_path / "int8.onnx"
    made = quantize(tmp_path / "model.onnx", target, agree, 0.985)
    assert (made.kept, made.is_accepted, round(made.agreement, 3)) == (("1",), True, 0.99)
    made = quantize(tmp_path / "model.onnx", target, agree, 1.0)
    assert (made.kept, made.agreement) == (("1", "2"), 1.0)
    nodes = onnx.load(target).graph.node
    assert sum(node.op_type == "MatMulInteger" for node in nodes) == len(layers["0"]) == 6  # the head is in fp32


def test_int8_that_agrees_too_little_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    made = quantize(graph_of(tmp_path), target, lambda path: 0.5, 0.99)
    assert (made.is_accepted, made.agreement, target.exists()) == (False, 0.5, False)


def test_static_int8_is_made_of_the_ranges_of_calibration_rows(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=1))
    config = ExportConfig(min_agreement=0, quantization="static")
    (made,) = export_saved(student, config, rows_file(tmp_path, "single_label_classification"))
    assert made.int8 is not None
    kinds = {node.op_type for node in onnx.load(tmp_path / "student" / INT8).graph.node}
    assert "QuantizeLinear" in kinds
    assert "DynamicQuantizeLinear" not in kinds
    own, whole = (OnnxPredictor(student, precision=name)(TEXTS, top_k=None) for name in ("int8", "fp32"))
    for mine, theirs in zip(own, whole, strict=True):
        scores = {one["label"]: one["score"] for one in theirs}
        assert all(abs(one["score"] - scores[one["label"]]) < 0.05 for one in mine)


# ---- The tokenizer inside ----


def bert_student(folder: Path) -> str:
    student = saved(folder, tiny_model(num_hidden_layers=1))
    BertTokenizer(vocab=tiny_tokenizer().get_vocab(), model_max_length=40).save_pretrained(folder)
    return student


@pytest.mark.parametrize("is_pair", [False, True])
def test_a_graph_that_reads_text_gives_what_the_other_does(tmp_path: Path, is_pair: bool) -> None:
    pytest.importorskip("onnxruntime_extensions", reason="onnxruntime_extensions is not installed")
    student = bert_student(tmp_path / "student")
    rows = [{"text": text, **({"other": text[::-1]} if is_pair else {})} for text in TEXTS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    length = 40 if is_pair else 6  # the package does not cut a pair
    data = DataConfig(source=str(tmp_path / "rows.jsonl"), text_columns=list(rows[0]), max_length=length)
    (made,) = export_saved(student, ExportConfig(formats=["onnx"], tokenizer=True), data)
    assert made.with_tokenizer == 1.0
    graph = TextGraph(tmp_path / "student" / "onnx" / "model_with_tokenizer.onnx")
    predict = OnnxPredictor(student, max_length=length)
    for row in rows:
        pairs = [row["other"]] if is_pair else None
        np.testing.assert_allclose(
            graph(*row.values())[0], predict.run_session(predict.prepare([row["text"]], pairs))[0]
        )


def test_a_tokenizer_that_reads_otherwise_inside_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime_extensions", reason="onnxruntime_extensions is not installed")
    student = bert_student(tmp_path / "student")
    (tmp_path / "more.txt").write_text("\n".join([*TEXTS, "[MASK] a special token is letters there"]))
    config = ExportConfig(formats=["onnx"], tokenizer=True)
    data = DataConfig(source=str(tmp_path / "more.txt"))
    (made,) = export_saved(student, config, data)
    assert made.with_tokenizer == 0.8
    assert "gives the same for 80.0% of 5 texts, 99.0% are asked" in caplog.text
    assert not (tmp_path / "student" / "onnx" / "model_with_tokenizer.onnx").exists()
    labels = ("O", "B-P", "I-P")
    tagger = saved(tmp_path / "tagger", task_model("token_classification", labels=labels, num_hidden_layers=1))
    with pytest.raises(DistillationError, match="are more than that"):
        export_saved(tagger, config, rows_file(tmp_path, "token_classification"))
    with pytest.raises(DistillationError, match="a TokenizersBackend cannot be put into a graph"):
        export_saved(saved(tmp_path / "other", tiny_model(num_hidden_layers=1)), config, data)
    monkeypatch.setattr("distilnlp.export.with_tokenizer.find_spec", lambda name: None)
    with pytest.raises(DistillationError, match=r"pip install 'distilnlp\[extensions\]'"):
        export_saved(student, config)


# ---- The folder ----


def test_a_failed_export_leaves_the_student_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    export_saved(student)
    before = checksums(Path(student))

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distilnlp.runs.exporting.export_graph", fail)
    with pytest.raises(DistillationError, match="cannot write the graphs"):
        export_saved(student)
    assert checksums(Path(student)) == before


@pytest.mark.parametrize("name", ["nowhere", "a/b"])
def test_what_is_no_student_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DistillationError, match=r"is none\. Give a local folder"):
        export_saved(str(tmp_path / name))


# ---- Serving ----


def test_classes_and_scores_are_those_of_the_pipeline(tmp_path: Path) -> None:
    for problem, options in (
        (None, {}),
        ("multi_label_classification", {"function_to_apply": "sigmoid"}),
    ):
        student = saved(tmp_path / str(problem), tiny_model(num_hidden_layers=2), problem_type=problem)
        export_saved(student)
        predict = OnnxPredictor(student, batch_size=2)
        served = pipeline("text-classification", model=student, device="cpu")
        for top_k in (1, 2, None):
            expected = served(TEXTS, **({} if top_k == 1 else {"top_k": top_k}), **options)
            found = predict(TEXTS, top_k=top_k)
            for own, other in zip(found, expected, strict=True):
                for mine, theirs in zip(*([own], [other]) if top_k == 1 else (own, other), strict=True):
                    assert mine["label"] == theirs["label"]
                    assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)
        assert predict(TEXTS[0]) == predict(TEXTS[:1])[0]
        assert predict([]) == []


def test_pairs_are_read_as_pairs(tmp_path: Path) -> None:
    model = tiny_model(num_hidden_layers=2)
    student = saved(tmp_path / "student", model)
    export_saved(student)
    encoded = tiny_tokenizer()(TEXTS, TEXTS[::-1], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**encoded).logits.softmax(-1).max(-1).values
    found = [own["score"] for own in OnnxPredictor(student)(TEXTS, TEXTS[::-1])]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_entities_are_those_of_the_pipeline(tmp_path: Path) -> None:
    labels = ("O", "B-PER", "I-PER", "B-LOC")
    model = task_model("token_classification", labels=labels, num_hidden_layers=2)
    student = saved(tmp_path / "student", model)
    export_saved(student)
    served = pipeline("token-classification", model=student, aggregation_strategy="first", device="cpu")
    for own, expected in zip(OnnxPredictor(student)(TEXTS), served(TEXTS), strict=True):
        assert [one["entity_group"] for one in own] == [one["entity_group"] for one in expected]
        for mine, theirs in zip(own, expected, strict=True):
            assert (mine["start"], mine["end"]) == (theirs["start"], theirs["end"])
            assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)


def test_answers_come_from_the_best_window(tmp_path: Path) -> None:
    task = TASKS["question_answering"]
    model = task_model(task.name, num_hidden_layers=2)
    student = saved(tmp_path / "student", model)
    data = rows_file(tmp_path, task.name)
    export_saved(student)
    predict = OnnxPredictor(student, max_length=24)
    rows = [json.loads(line) for line in Path(str(data.source)).read_text().splitlines()]
    own = {name: [row[name] for row in rows] for name in ("question", "context")}
    normalised = Dataset.from_dict({**own, "answers": [["x"]] * len(rows), "answer_starts": [[0]] * len(rows)})
    encoded = task.rows.encode(normalised, tiny_tokenizer(), 24, "", config=data, for_evaluation=True)
    expected = task.evaluation.predict(model, list(encoded), task.collator(tiny_tokenizer()), 8)
    found = predict(own["question"], own["context"], stride=4)
    assert [one["answer"] for one in found] == expected
    for row, one in zip(rows, found, strict=True):
        assert row["context"][one["start"] : one["end"]].strip() == one["answer"]
    silent = saved(tmp_path / "silent", model, no_answer_threshold=-1e9)
    export_saved(silent)
    assert {one["answer"] for one in OnnxPredictor(silent)(["the film"], ["a stock price"])} == {""}


def test_choices_and_masked_words(tmp_path: Path) -> None:
    model = task_model("multiple_choice", num_hidden_layers=2)
    student = saved(tmp_path / "choices", model)
    export_saved(student)
    encoded = tiny_tokenizer()(["the film"] * 3, ["a", "the plot", "goal"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**{name: value[None] for name, value in encoded.items()}).logits[0].softmax(-1)
    (found,) = OnnxPredictor(student)(["the film"], [["a", "the plot", "goal"]])
    assert found["scores"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found["choice"] == int(expected.argmax())
    masked = saved(tmp_path / "masked", task_model("masked_lm", num_hidden_layers=2))
    export_saved(masked, task="masked_lm")
    served = pipeline("fill-mask", model=masked, device="cpu")("the [MASK] a", top_k=3)
    own = OnnxPredictor(masked)("the [MASK] a", top_k=3)
    assert [one["token"] for one in own] == [one["token"] for one in served]


def test_serving_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    export_saved(student)
    program = f"""
import sys
from distilnlp.serving import OnnxPredictor
OnnxPredictor({student!r})(["the film"])
print(sorted({{"torch", "transformers", "datasets"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / FP32).unlink(), "has no onnx/model.onnx.*distilnlp export"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    ],
)
def test_what_is_no_exported_student_is_named(tmp_path: Path, spoil: Any, message: str) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    export_saved(student)
    spoil(Path(student))
    with pytest.raises(ValueError, match=message):
        OnnxPredictor(student)


def test_wrong_calls_are_named(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    export_saved(student)
    predict = OnnxPredictor(student)
    for texts, pairs, message in (
        ([3], None, "expected texts, but got 3"),
        (["a", "b"], ["c"], "one of pairs for each of 2"),
    ):
        with pytest.raises(ValueError, match=message):
            predict(texts, pairs)
    for options, message in (({"precision": "int4"}, "int8 or fp32"), ({"precision": "int8"}, f"no {INT8}")):
        with pytest.raises(ValueError, match=message):
            OnnxPredictor(student, **options)


def test_softmax_is_that_of_torch() -> None:
    logits = torch.randn(3, 4) * 50
    np.testing.assert_allclose(softmax(logits.numpy()), logits.double().softmax(-1).numpy(), atol=1e-12)


def test_the_tokenizer_file_serves_as_it_is(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    export_saved(student)
    tokenizer = AutoTokenizer.from_pretrained(student)
    own = OnnxPredictor(student).encode(TEXTS)
    assert [encoding.ids for encoding in own] == tokenizer(TEXTS)["input_ids"]


WORDS = ["the", "film", "unbelievably", "goal!", "x" * 70, "日本語のテキスト", "naïve", "[MASK]", "  ", "\n", "é" * 9]


def _bert() -> tuple[Tokenizer, Any]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(vocab_size=80, special_tokens=["[UNK]", "[MASK]"])


def _bytes() -> tuple[Tokenizer, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer, trainers.BpeTrainer(vocab_size=300, special_tokens=["[MASK]"])


def _unigram() -> tuple[Tokenizer, Any]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return tokenizer, trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>", "[MASK]"])


@pytest.mark.parametrize("kind", [_bert, _bytes, _unigram])
@pytest.mark.parametrize("direction", ["right", "left"])
def test_the_start_of_a_long_text_gives_the_tokens_of_the_whole(tmp_path: Path, kind: Any, direction: str) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=1))
    export_saved(student)
    draw = random.Random(0)
    texts = [draw.choice(["", " "]).join(draw.choices(WORDS, k=draw.randint(0, 400))) for _ in range(300)]
    tokenizer, trainer = kind()
    tokenizer.train_from_iterator(texts, trainer)
    for length in (4, 9, 40):
        predict = OnnxPredictor(student, max_length=length)
        predict.tokenizer = tokenizer
        own = predict.encode(texts, direction=direction)
        whole = tokenizer.encode_batch(texts)
        assert [each.ids for each in own] == [each.ids for each in whole]
        assert [each.offsets for each in own] == [each.offsets for each in whole]
        assert [bool(each.overflowing) for each in own] == [bool(each.overflowing) for each in whole]


# ---- The command ----


def test_the_command_says_what_it_made(tmp_path: Path, capsys: Any) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    data = rows_file(tmp_path, "single_label_classification")
    assert main(["export", student, "--data", str(data.source)]) == 0
    said = capsys.readouterr().out
    assert f"ONNX      {student}/{FP32} (" in said
    assert f"\n          {student}/{INT8} (" in said
    assert "of 12 answers as fp32" in said
    assert main(["export", student]) == 0
    assert "int8 was not made: name texts" in capsys.readouterr().out
    assert not (Path(student) / INT8).exists()  # it would be of another student
    assert main(["export", student, "--data", str(data.source), "--json"]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(made["rows"], list(made["graphs"])) for made in results["exports"]] == [(12, [FP32, INT8])]


def test_texts_without_labels_are_enough_for_int8(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    (tmp_path / "more.txt").write_text("\n".join(TEXTS))
    (made,) = export_saved(student, data=DataConfig(source=str(tmp_path / "more.txt")))
    assert made.rows == len(TEXTS)


def test_int8_that_is_refused_is_said_so(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    monkeypatch.setattr("distilnlp.runs.exporting.quantize", lambda *_: Int8(0.5, is_accepted=False))
    data = rows_file(tmp_path, "single_label_classification")
    assert main(["export", student, "--data", str(data.source)]) == 0
    assert "int8 was refused: it gives 50.0% of 12 answers as fp32 does" in capsys.readouterr().out
    assert not (Path(student) / INT8).exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, capsys: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", student]) == 2
    assert (
        f"an export to ONNX needs the package {package}. Install it: pip install 'distilnlp[export]'"
        in capsys.readouterr().err
    )
    assert not list(Path(student).glob("onnx*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "is none. Give a local folder"),
        (["student", "--min-agreement", "2"], "'export.min_agreement' = 2 does not fit"),
        (["student", "--min-agreement", "x"], "'export.min_agreement' = 'x' does not fit"),
        (["student", "--formats", "tflite"], "export.formats"),
        (["student", "--export.distil_int8", "true"], "set it in the recipe of the run"),
        (["student", "--data", "nothing.csv"], "no file nothing.csv"),
        (["student", "--teacher", "x"], "--teacher"),
    ],
)
def test_wrong_commands_are_refused(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "student", tiny_model(num_hidden_layers=2))
    assert main(["export", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "student").glob("onnx*"))
