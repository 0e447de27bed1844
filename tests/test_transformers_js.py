"""A student's folder as it is, in transformers.js, which runs in Node and in browsers."""

import json
import shutil
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from distilnlp.data import DataConfig
from distilnlp.export import ExportConfig
from distilnlp.runs import export_saved
from distilnlp.serving import OnnxPredictor
from tests.test_export import saved
from tests.tiny import tiny_rows, tiny_tokenizer
from tests.tiny_tasks import task_model

HERE = Path(__file__).parent
LIBRARY = HERE.parent / ".cache/node/node_modules/@huggingface/transformers/dist/transformers.node.mjs"
pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not LIBRARY.is_file(), reason="transformers.js is not installed: `make test` installs it where there is npm"
    ),
]


def in_node(student: str, dtype: str, task: str, texts: list[str]) -> Any:
    words = ["node", str(HERE / "transformers_js.mjs"), str(LIBRARY), student, dtype, task]
    done = subprocess.run(words, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def hundred_texts() -> list[str]:
    words = sorted({word for text in tiny_rows(24)["text"] for word in text.split()})
    random = Random(0)
    return [" ".join(random.choices(words, k=random.randint(1, 12))) for _ in range(100)]


def test_classes_of_100_texts_are_the_same_in_fp32_and_in_int8(tmp_path: Path) -> None:
    texts, model = hundred_texts(), task_model("single_label_classification", num_hidden_layers=2)
    with torch.no_grad():  # random weights prefer one class
        encoded = tiny_tokenizer()(texts, padding=True, return_tensors="pt")
        model.classifier.bias -= model(**encoded).logits.mean(0)
    student = saved(tmp_path / "student", model)
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    export_saved(student, ExportConfig(min_agreement=0), DataConfig(source=str(tmp_path / "texts.txt")))
    for dtype, precision in (("fp32", "fp32"), ("q8", "int8")):
        # In int8 what a batch holds decides how its activations are rounded: the batch must be the same one.
        own = OnnxPredictor(student, precision=precision, batch_size=len(texts))(texts)
        found = in_node(student, dtype, "text-classification", texts)
        assert len({one["label"] for one in found}) > 1
        assert [one["label"] for one in found] == [one["label"] for one in own]
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in own], abs=1e-4)


def test_masked_words_are_the_same(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", task_model("masked_lm", num_hidden_layers=1))
    export_saved(student, task="masked_lm")
    (own,) = OnnxPredictor(student)(["the [MASK] a"])
    (found,) = in_node(student, "fp32", "fill-mask", ["the [MASK] a"])
    assert [one["token"] for one in found] == [one["token"] for one in own]
