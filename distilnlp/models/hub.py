"""What goes wrong between here and the Hub, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HTTPError

from distilnlp.errors import DistillationError


@contextmanager
def hub_errors() -> Iterator[None]:
    """Raise a `DistillationError` for what a push raises: no network, no login, no right to write."""
    try:
        yield
    except (HTTPError, OSError) as error:  # OSError: also a missing token and an environment that is offline
        raise DistillationError(
            f"the model was not pushed to the Hub: {type(error).__name__}: {error}. Log in with "
            "`hf auth login`, see that the Hub can be reached, and try again; save_model keeps the model on disk."
        ) from error
