"""An exported student over HTTP: the routes of text-embeddings-inference, requests answered in common batches.

No torch is loaded. One thread runs the student; while it runs, further requests gather for its next batch.
"""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from distilnlp.errors import DistillationError, shortened
from distilnlp.serving import OnnxPredictor

logger = logging.getLogger(__name__)

DIRECTIONS = ("right", "left")
BACKLOG = 2048  # connections that wait
GONE = 499  # what is logged of a client that went away: nobody reads it
STOPPING = 30  # seconds that requests have to end when the server is told to


@dataclass(frozen=True)
class Limits:
    """What the server takes.

    Attributes:
        batch_size: inputs that run together at most.
        wait: seconds that the first input of a batch waits for others. While one batch runs the next gathers anyway.
        inputs: of one request.
        body: bytes of one request.
        queue: inputs that wait; further ones are sent away.
    """

    batch_size: int = 32
    wait: float = 0.0
    inputs: int = 256
    body: int = 2_000_000
    queue: int = 2_048


class RefusedError(Exception):
    """A request that cannot be answered; the kinds and statuses are those of text-embeddings-inference."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(eq=False)
class Asked:
    """One input of a request.

    Attributes:
        texts: one text, two of a pair, or a prompt and its choices.
        raw: whether logits are wanted.
        truncates: whether it may be cut.
        direction: where.
        answer: what comes of it.
    """

    texts: list[str]
    raw: bool
    truncates: bool
    direction: str
    answer: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches:
    """Gathers inputs, and has the student answer them together in a thread of its own.

    Args:
        predict: the student.
        limits: of a batch, and of the queue.
    """

    def __init__(self, predict: OnnxPredictor, limits: Limits) -> None:
        self.predict, self.limits = predict, limits
        self.queue: asyncio.Queue[Asked] = asyncio.Queue()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="student")

    def put(self, inputs: list[Asked]) -> None:
        """Queue the inputs of a request, all or none."""
        if self.queue.qsize() + len(inputs) > self.limits.queue:
            raise RefusedError(429, "Overloaded", "the model is overloaded: try again later")
        for one in inputs:
            self.queue.put_nowait(one)

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.queue.get()]
            if self.limits.wait and self.queue.qsize() + 1 < self.limits.batch_size:
                await asyncio.sleep(self.limits.wait)
            while len(batch) < self.limits.batch_size and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            batch = [one for one in batch if not one.answer.done()]  # of clients that went away nothing is run
            answers = await loop.run_in_executor(self.thread, self._answers, batch)
            for one, answer in zip(batch, answers, strict=True):
                if one.answer.done():
                    continue
                if isinstance(answer, Exception):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)

    def _answers(self, batch: list[Asked]) -> list[Any]:
        """Return an answer, or an exception, to each input."""
        answers: dict[int, Any] = {}
        alike: dict[Any, list[Asked]] = {}
        for one in batch:
            alike.setdefault((len(one.texts), one.direction), []).append(one)
        for group in alike.values():
            try:
                found: Iterable[Any] = self._of_group(group)
            except Exception as error:  # whatever a runtime raises is no reason to stop
                logger.exception("a batch of %d inputs failed", len(group))
                found = [RefusedError(424, "Backend", shortened(str(error), 200))] * len(group)
            answers |= {id(one): answer for one, answer in zip(group, found, strict=True)}
        return [answers[id(one)] for one in batch]

    def _of_group(self, group: list[Asked]) -> list[Any]:
        """Answer inputs of as many texts each."""
        predict, firsts = self.predict, [one.texts[0] for one in group]
        if predict.head == "MultipleChoice":
            return list(predict(firsts, [one.texts[1:] for one in group]))
        pairs = [one.texts[1] for one in group] if len(group[0].texts) > 1 else None
        if predict.head != "SequenceClassification":
            return list(predict(firsts, pairs))
        encodings = predict.encode(firsts, pairs, group[0].direction)
        fits = [one.truncates or not own.overflowing for one, own in zip(group, encodings, strict=True)]
        logits = iter(predict.logits([own for own, fit in zip(encodings, fits, strict=True) if fit]))
        too_long = RefusedError(
            413, "Validation", f"an input is longer than {predict.max_length} tokens: shorten it, or set truncate"
        )
        return [
            predict.ranked(own if one.raw else predict.scores(own))
            if fit and (own := next(logits)) is not None
            else too_long
            for one, fit in zip(group, fits, strict=True)
        ]


def application(predict: OnnxPredictor, limits: Limits, version: str = "") -> Starlette:
    """Return the application.

    Args:
        predict: the student.
        limits: what is taken.
        version: of this package, for those who ask.
    """
    batches = Batches(predict, limits)

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.run())
        try:
            yield
        finally:
            task.cancel()
            batches.thread.shutdown(wait=True)

    async def health(_: Request) -> Response:
        return Response(status_code=200)

    async def info(_: Request) -> Response:
        labels = {str(index): name for index, name in predict.labels.items()}
        return JSONResponse(
            {
                "model_id": predict.folder.name,
                "model_dtype": predict.precision,
                "model_type": {"classifier": {"id2label": labels, "label2id": {v: int(k) for k, v in labels.items()}}},
                "head": predict.head,
                "max_input_length": predict.max_length,
                "max_batch_requests": limits.batch_size,
                "max_client_batch_size": limits.inputs,
                "max_concurrent_requests": limits.queue,
                "version": version,
            }
        )

    async def answer(request: Request) -> Response:
        inputs, is_batch = _read(await _body(request, limits.body), predict.head, limits)
        batches.put(inputs)
        answers: asyncio.Future[list[Any]] = asyncio.gather(*(one.answer for one in inputs))
        # The body was read: what comes now is that the client left.
        gone: asyncio.Future[Any] = asyncio.ensure_future(request.receive())
        await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            answers.cancel()
            return Response(status_code=GONE)
        gone.cancel()
        found = await answers
        return JSONResponse(found if is_batch else found[0])

    def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, RefusedError):
            return JSONResponse({"error": str(error), "error_type": error.kind}, error.status)
        if isinstance(error, ClientDisconnect):
            return Response(status_code=GONE)
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = error.detail if isinstance(error, HTTPException) else "an unexpected error"
        return JSONResponse({"error": said, "error_type": "Validation" if status < 500 else "Backend"}, status)

    routes = [Route("/health", health), Route("/info", info), Route("/predict", answer, methods=["POST"])]
    handled = (RefusedError, ClientDisconnect, HTTPException, Exception)
    return Starlette(routes=routes, lifespan=running, exception_handlers=dict.fromkeys(handled, refused))


async def _body(request: Request, most: int) -> bytes:
    """Return the body, of which no more is read than is taken."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise RefusedError(413, "Validation", f"the request has more than {most} bytes: send less at a time")
        parts.append(part)
    return b"".join(parts)


def _read(body: bytes, head: str, limits: Limits) -> tuple[list[Asked], bool]:
    """Return the inputs of a request, and whether they are a batch: a list of lists of texts."""
    try:
        content = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _wrong(f"the body must be JSON in UTF-8: {shortened(str(error), 200)}") from None
    if not isinstance(content, dict) or "inputs" not in content:
        raise _wrong('the body must be an object with the key "inputs"')
    given = content["inputs"]
    is_batch = isinstance(given, list) and bool(given) and isinstance(given[0], list)
    rows = given if is_batch else [given if isinstance(given, list) else [given]]
    if len(rows) > limits.inputs:
        raise RefusedError(413, "Validation", f"{len(rows)} inputs are more than {limits.inputs}: send fewer at a time")
    most = limits.inputs if head == "MultipleChoice" else 2
    for row in rows:
        if not isinstance(row, list) or not 1 <= len(row) <= most or not all(map(_is_text, row)):
            raise _wrong(
                "inputs must be a text, a pair of texts, or a list of lists of one or two texts, none of them blank"
            )
    fewest = 2 if head in ("MultipleChoice", "QuestionAnswering") else 1
    if any(len(row) < fewest for row in rows):
        raise _wrong("each input needs two texts: a question and its context, or a prompt and its choices")
    options = {name: content.get(name) or False for name in ("raw_scores", "truncate")}
    direction = str(content.get("truncation_direction") or DIRECTIONS[0]).lower()
    if not all(isinstance(value, bool) for value in options.values()) or direction not in DIRECTIONS:
        raise _wrong("raw_scores and truncate must be true or false, and truncation_direction right or left")
    return [Asked(row, options["raw_scores"], options["truncate"], direction) for row in rows], is_batch


def _is_text(value: object) -> bool:
    """Tell a text that a tokenizer can read; half of a surrogate pair is none."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _wrong(message: str) -> RefusedError:
    return RefusedError(422, "Validation", message)


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free.

    Raises:
        DistillationError: the port is in use, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol, by which asyncio knows that it may turn Nagle's delays off: they cost 40 ms an answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)  # who comes before all is up waits
    except (OSError, OverflowError) as error:
        bound.close()
        raise DistillationError(
            f"cannot listen at {host}, port {port}: {error}. Name another --port, or 0 for any that is free."
        ) from error
    return bound


def serve(application: Starlette, bound: socket.socket) -> None:
    """Serve until the process is told to stop; requests that came before that are answered."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Stop at a signal; unlike its base it does not raise the signal again: to stop a server is no failure."""
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "on"}
    config = uvicorn.Config(application, timeout_graceful_shutdown=STOPPING, **options)
    Server(config).run(sockets=[bound])
