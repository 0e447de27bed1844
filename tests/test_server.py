"""`distilnlp serve`: a real process, its answers, batches, wrong requests, and its end."""

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli.commands import main
from distilnlp.runs import export_saved
from distilnlp.server import Asked, Batches, Limits, RefusedError, _read
from distilnlp.serving import OnnxPredictor
from tests.test_export import TEXTS, saved
from tests.tiny import tiny_model
from tests.tiny_tasks import task_model

ALL = ("classifier", "tagger", "questions", "choices")


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students")
    models = [tiny_model(num_hidden_layers=1), task_model("token_classification", num_hidden_layers=1)]
    models += [task_model(task, num_hidden_layers=1) for task in ("question_answering", "multiple_choice")]
    for name, model in zip(ALL, models, strict=True):
        export_saved(saved(folder / name, model))
    return folder


@contextmanager
def served(student: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the command, and yield its process and port; it is stopped if it still runs."""
    command = [sys.executable, "-m", "distilnlp", "serve", str(student), "--port", "0", "--threads", "1", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = ""
        while not (found := re.search(r"answers at http://127\.0\.0\.1:(\d+)/predict", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def ask(port: int, body: Any, path: str = "/predict", method: str = "POST") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body).encode())
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None
    finally:
        connection.close()


def test_the_answers_are_those_of_the_predictor_in_the_schema_of_tei(students: Path) -> None:
    predict = OnnxPredictor(students / "classifier", threads=1)
    expected = predict(TEXTS, top_k=None)
    with served(students / "classifier") as (_, port):
        assert ask(port, None, "/health", "GET") == (200, None)
        status, info = ask(port, None, "/info", "GET")
        assert (status, info["model_dtype"], info["max_input_length"]) == (200, "fp32", predict.max_length)
        assert list(info["model_type"]["classifier"]["label2id"]) == list(predict.labels.values())
        assert ask(port, {"inputs": TEXTS[0]}) == (200, [pytest.approx(one) for one in expected[0]])
        status, batch = ask(port, {"inputs": [[text] for text in TEXTS]})
        assert status == 200
        for own, other in zip(batch, expected, strict=True):
            assert [one["label"] for one in own] == [one["label"] for one in other]
            assert [one["score"] for one in own] == pytest.approx([one["score"] for one in other], abs=1e-5)
        (pair,) = predict([TEXTS[0]], [TEXTS[1]], top_k=None)
        assert ask(port, {"inputs": TEXTS[:2]})[1][0]["score"] == pytest.approx(pair[0]["score"], abs=1e-6)
        status, raw = ask(port, {"inputs": TEXTS[0], "raw_scores": True})
        (logits,) = predict.logits(predict.encode(TEXTS[:1]))
        assert [one["score"] for one in raw] == pytest.approx(sorted(map(float, logits), reverse=True), abs=1e-5)
        long = "the film " * 100
        status, error = ask(port, {"inputs": long})
        assert (status, error["error_type"]) == (413, "Validation")
        assert f"longer than {predict.max_length} tokens" in error["error"]
        assert ask(port, {"inputs": long, "truncate": True})[0] == 200
        left = ask(port, {"inputs": f"{long} goal", "truncate": True, "truncation_direction": "Left"})
        assert left != ask(port, {"inputs": f"{long} goal", "truncate": True})
        assert ask(port, {"inputs": [["a"], [long]]})[0] == 413
        assert ask(port, {"inputs": "a"})[0] == 200  # what was refused did no harm


def test_other_heads_answer_too(students: Path) -> None:
    for name, inputs, pairs in (
        ("tagger", [[text] for text in TEXTS], None),
        ("questions", [[text, "a stock market rate"] for text in TEXTS], ["a stock market rate"] * len(TEXTS)),
        ("choices", [[text, "the plot", "a"] for text in TEXTS], [["the plot", "a"]] * len(TEXTS)),
    ):
        with served(students / name) as (_, port):
            status, found = ask(port, {"inputs": inputs})
            assert (status, found) == (200, json.loads(json.dumps(OnnxPredictor(students / name)(TEXTS, pairs))))
            if name != "tagger":
                assert ask(port, {"inputs": "a"})[1]["error"].startswith("each input needs two texts")


WRONG: list[tuple[bytes, int]] = [
    (b"", 422),
    (b"inputs", 422),
    (b"[]", 422),
    (b"{}", 422),
    (b"null", 422),
    (b'{"inputs": NaN}', 422),
    (b'{"inputs": 3}', 422),
    (b'{"inputs": ""}', 422),
    (b'{"inputs": " \\n"}', 422),
    (b'{"inputs": []}', 422),
    (b'{"inputs": [[]]}', 422),
    (b'{"inputs": ["a", "b", "c"]}', 422),
    (b'{"inputs": [["a"], "b"]}', 422),
    (b'{"inputs": [["a", 3]]}', 422),
    (b'{"inputs": "a", "truncate": "yes"}', 422),
    (b'{"inputs": "a", "truncation_direction": "up"}', 422),
    (b'{"inputs": "\\ud800"}', 422),
    (b'{"inputs": "\xff\xfe"}', 422),
    (b"[" * 100_000, 422),
    (json.dumps({"inputs": [["a"]] * 9}).encode(), 413),
    (json.dumps({"inputs": "a" * 300_000}).encode(), 413),
]


def test_wrong_requests_are_answered_and_the_next_one_is_too(students: Path) -> None:
    with served(students / "classifier", "--max-inputs", "8", "--max-body", "200000") as (process, port):
        for body, expected in WRONG:
            status, content = ask(port, body)
            assert status == expected, body[:60]
            assert content["error_type"] == "Validation"
            assert content["error"]
        assert ask(port, {"inputs": "a\x00b"})[0] == 200
        assert ask(port, {"inputs": "a"}, "/nothing")[0] == 404
        assert ask(port, None, "/predict", "GET")[0] == 405
        with socket.create_connection(("127.0.0.1", port)) as endless:  # a body that never ends is not read to its end
            endless.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            endless.settimeout(30)
            answer = b""
            while b"413" not in answer:
                endless.sendall(b"ffff\r\n" + b" " * 0xFFFF + b"\r\n")
                endless.settimeout(0.05)
                try:
                    answer += endless.recv(1000)
                except TimeoutError:
                    continue
        assert ask(port, {"inputs": "a"})[0] == 200
        assert process.poll() is None


def test_a_client_that_leaves_costs_no_one_else(students: Path) -> None:
    with served(students / "classifier", "--batch-wait", "300") as (_, port):
        body = json.dumps({"inputs": "a"})
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
                leaving.sendall((head + body).encode())
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                leaving.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
        assert ask(port, {"inputs": "a"})[0] == 200


def test_it_stops_when_told_to_and_answers_what_it_was_asked(students: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with served(students / "classifier", "--batch-wait", "500") as (process, port):
            with ThreadPoolExecutor(4) as pool:
                asked = [pool.submit(ask, port, {"inputs": text}) for text in TEXTS]
                time.sleep(0.25)
                process.send_signal(number)
                assert [future.result()[0] for future in asked] == [200] * len(TEXTS)
            assert process.wait(timeout=30) == 0
            with pytest.raises(OSError, match="refused"):
                ask(port, {"inputs": "a"})


def test_requests_that_come_together_run_together(students: Path) -> None:
    predict = OnnxPredictor(students / "classifier", threads=1)
    sizes: list[int] = []
    original = predict.run_session
    started = threading.Event()

    def slow(feed: Any) -> Any:
        sizes.append(len(feed["input_ids"]))
        started.set()
        time.sleep(0.1)
        return original(feed)

    predict.run_session = slow  # type: ignore[method-assign]

    async def all_at_once() -> list[Any]:
        batches = Batches(predict, Limits(batch_size=8, wait=0))
        task = asyncio.create_task(batches.run())
        first = Asked([TEXTS[0]], False, False, "right")
        batches.put([first])
        await asyncio.to_thread(started.wait)
        others = [Asked([text], False, False, "right") for text in TEXTS * 4]
        for one in others:
            batches.put([one])
        gone = others.pop(3)
        gone.answer.cancel()
        answers = [await one.answer for one in [first, *others]]
        task.cancel()
        return answers

    answers = asyncio.run(all_at_once())
    assert sizes == [1, 7, 8]
    texts = [TEXTS[0], *(text for place, text in enumerate(TEXTS * 4) if place != 3)]
    for own, other in zip(answers, OnnxPredictor(students / "classifier")(texts, top_k=None), strict=True):
        assert own[0]["label"] == other[0]["label"]
        assert own[0]["score"] == pytest.approx(other[0]["score"], abs=1e-5)


def test_a_full_queue_and_a_runtime_that_fails_are_said(students: Path) -> None:
    predict = OnnxPredictor(students / "classifier", threads=1)

    def fail(feed: Any) -> Any:
        raise RuntimeError("out of memory")

    predict.run_session = fail  # type: ignore[method-assign]

    async def ask_all() -> None:
        batches = Batches(predict, Limits(queue=2))
        inputs = [Asked(["a"], False, False, "right") for _ in range(3)]
        with pytest.raises(RefusedError, match="overloaded") as refused:
            batches.put(inputs)
        assert refused.value.status == 429
        batches.put(inputs[:2])
        task = asyncio.create_task(batches.run())
        for one in inputs[:2]:
            with pytest.raises(RefusedError, match="out of memory") as failed:
                await one.answer
            assert failed.value.status == 424
        task.cancel()

    asyncio.run(ask_all())


def test_a_text_a_pair_and_a_batch_are_told_apart() -> None:
    async def read(inputs: Any) -> tuple[list[list[str]], bool]:
        asked, is_batch = _read(json.dumps({"inputs": inputs}).encode(), "SequenceClassification", Limits())
        return [one.texts for one in asked], is_batch

    for inputs, expected in (
        ("a", ([["a"]], False)),
        (["a"], ([["a"]], False)),
        (["a", "b"], ([["a", "b"]], False)),
        ([["a"]], ([["a"]], True)),
        ([["a"], ["b", "c"]], ([["a"], ["b", "c"]], True)),
    ):
        assert asyncio.run(read(inputs)) == expected


def test_it_loads_no_torch(students: Path) -> None:
    program = f"""
import sys
from distilnlp.server import Limits, application
from distilnlp.serving import OnnxPredictor
application(OnnxPredictor({str(students / "classifier")!r}), Limits())
import distilnlp.cli.serve
print(sorted({{"torch", "transformers", "datasets"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_wrong_commands_are_refused(
    students: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "plain", tiny_model(num_hidden_layers=1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, message in (
            ([str(tmp_path / "plain")], "has no onnx/model.onnx. Run `distilnlp export"),
            ([str(tmp_path / "nowhere")], "has no config.json"),
            ([str(students / "classifier"), "--port", port], f"port {port}: "),
            ([str(students / "classifier"), "--port", "99999"], "port 99999"),
            ([str(students / "classifier"), "--port", "x"], "--port must be a number from 0 on, but it is 'x'"),
            ([str(students / "classifier"), "--host", "192.0.2.1", "--port", "0"], "cannot listen at 192.0.2.1"),
            ([str(students / "classifier"), "--precision", "int8"], "has no onnx/model_quantized.onnx"),
            ([str(students / "classifier"), "--batch-size", "0"], "--batch-size must be"),
        ):
            assert main(["serve", *words]) == 2
            assert message in " ".join(capsys.readouterr().err.split()), words
    monkeypatch.setattr("distilnlp.cli.serve.find_spec", lambda name: None)
    assert main(["serve", str(students / "classifier")]) == 2
    assert "pip install 'distilnlp[serve]'" in capsys.readouterr().err
