"""Messages: of bounded length, without secrets, one full stop at the end of a sentence."""

import pickle

import pytest

from distilnlp.errors import DistillationError, UnreachableError, shown

TOKEN = "hf_" + "aB3" * 11


@pytest.mark.parametrize(
    ("message", "presented"),
    [
        ("it failed: no such file.. Check the path.", "it failed: no such file. Check the path."),
        ("it failed: 'x'.. Check it.", "it failed: 'x'. Check it."),
        ("seen from .. it is … not there...", "seen from .. it is … not there..."),
        (f"cannot reach {TOKEN} there.", "cannot reach *** there."),
        ("see https://me:pass@hub/x.", "see https://***@hub/x."),
        ("see https://hub/x.csv?a=1&token=abc now", "see https://hub/x.csv?a=1&*** now"),
    ],
)
def test_a_message_is_fit_to_be_shown(message: str, presented: str) -> None:
    assert str(DistillationError(message)) == presented


def test_a_message_has_a_bound_and_keeps_its_ends() -> None:
    message = str(UnreachableError("a" * 10_000_000 + " Check the path."))
    assert len(message) < 2100
    assert message.startswith("aaa")
    assert message.endswith("Check the path.")
    assert len(shown("x" * 10_000)) < 250


def test_an_error_goes_from_process_to_process() -> None:
    assert str(pickle.loads(pickle.dumps(DistillationError("x. Do y.")))) == "x. Do y."
