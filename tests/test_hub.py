"""The Hub out of reach: a message, not the traceback of a network library."""

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError
from transformers import Trainer

from distilnlp import DistillationTrainer
from distilnlp.errors import DistillationError


@pytest.mark.parametrize("kind", [HTTPError, LocalTokenNotFoundError, ConnectionError])
def test_a_push_that_fails_says_what_to_do(
    make_trainer: Callable[..., DistillationTrainer], monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise kind("no route to host")

    monkeypatch.setattr(Trainer, "push_to_hub", fail)
    assert issubclass(HfHubHTTPError, HTTPError)
    with pytest.raises(DistillationError, match=r"not pushed to the Hub: .*no route to host. Log in with `hf auth"):
        make_trainer().push_to_hub()


def test_the_arguments_of_a_push_are_passed_on(
    make_trainer: Callable[..., DistillationTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "push_to_hub", lambda self, *args, **kwargs: (args, kwargs))
    assert make_trainer().push_to_hub("a message", blocking=False) == (("a message",), {"blocking": False})
