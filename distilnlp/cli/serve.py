"""`distilnlp serve`: a student over HTTP."""

import argparse
import ipaddress
import logging
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

from distilnlp.errors import DistillationError, shown
from distilnlp.files import expanded
from distilnlp.screen import use

HELP = "answer over HTTP by an exported student, in the schema of text-embeddings-inference"
PACKAGES = ("onnxruntime", "starlette", "uvicorn")

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp serve STUDENT [--port 8080] [--threads N]"
    parser.add_argument("student", metavar="STUDENT", help="folder of a student that is exported")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine alone")
    parser.add_argument("--port", default="8080", help="0 = any that is free; default: 8080")
    parser.add_argument("--precision", choices=("fp32", "int8"), help="default: int8 if it is there")
    parser.add_argument("--threads", metavar="N", help="of the student; default: as ONNX Runtime sees fit")
    parser.add_argument("--max-length", metavar="N", help="tokens of an input; default: as the student was trained")
    parser.add_argument("--batch-size", default="32", metavar="N", help="inputs that run together; default: 32")
    parser.add_argument(
        "--batch-wait", default="0", metavar="MS", help="milliseconds that a batch waits for others; default: 0"
    )
    parser.add_argument("--max-inputs", default="256", metavar="N", help="inputs of one request; default: 256")
    parser.add_argument("--max-body", default="2000000", metavar="BYTES", help="of one request; default: 2000000")
    parser.add_argument("--max-queue", default="2048", metavar="N", help="inputs that wait; default: 2048")


def run(args: argparse.Namespace) -> None:
    """Serve until told to stop."""
    use(args.mode)
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise DistillationError(
            f"distilnlp serve needs the package {missing[0]}. Install it: pip install 'distilnlp[serve]'."
        )
    from distilnlp.screen import current
    from distilnlp.server import Limits, application, bound_socket, serve
    from distilnlp.serving import OnnxPredictor

    size = _number("--batch-size", args.batch_size, int, 1)
    limits = Limits(
        batch_size=size,
        wait=_number("--batch-wait", args.batch_wait, float, 0) / 1000,
        inputs=_number("--max-inputs", args.max_inputs, int, 1),
        body=_number("--max-body", args.max_body, int, 1),
        queue=_number("--max-queue", args.max_queue, int, 1),
    )
    port = _number("--port", args.port, int, 0)
    threads = None if args.threads is None else _number("--threads", args.threads, int, 1)
    length = None if args.max_length is None else _number("--max-length", args.max_length, int, 2)
    try:
        predict = OnnxPredictor(
            expanded(args.student), precision=args.precision, threads=threads, batch_size=size, max_length=length
        )
    except ValueError as error:
        raise DistillationError(str(error)) from None
    bound = bound_socket(args.host, port)
    host, port = bound.getsockname()[:2]
    if not ipaddress.ip_address(host).is_loopback:
        logger.warning("other machines reach this server at %s: it asks nobody who they are", host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    current().say(f"{args.student} ({predict.precision}) answers at {address}/predict")
    current().event("ready", address=address, precision=predict.precision)
    serve(application(predict, limits, version("distilnlp")), bound)
    current().say("stopped")


def _number(flag: str, text: str, kind: Callable[[str], int | float], least: int) -> int:
    try:
        number = kind(text)
    except ValueError:
        number = least - 1
    if not number >= least:
        raise DistillationError(f"{flag} must be a number from {least} on, but it is {shown(text)}. Give one.")
    return number  # type: ignore[return-value]  # a fraction of the milliseconds alone
