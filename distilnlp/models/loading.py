"""Loading models and tokenizers by name, from a folder or the Hub; never their own code unless it was allowed."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from distilnlp.errors import DistillationError, UnreachableError, did_you_mean, shown

SERVER_ERRORS = (429, 500, 502, 503, 504)  # they pass; the loader tries again


def load_pretrained(auto_class: Any, name: str, trusted: Collection[str] = (), **kwargs: Any) -> Any:
    """Load with an auto class of transformers.

    Args:
        auto_class: such as `AutoTokenizer`.
        name: local folder or Hub id.
        trusted: the names whose own Python code may run; without it transformers would ask on the terminal.
        kwargs: of `from_pretrained`.

    Raises:
        UnreachableError: the name may be one of the Hub, which did not give it.
        DistillationError: there is no such folder, it cannot be loaded, or needs code of its own.
    """
    is_here = _is_folder(name)
    if not is_here:
        _ask_hub(name)
    try:
        return auto_class.from_pretrained(name, trust_remote_code=name in trusted, **kwargs)
    except Exception as error:  # transformers, tokenizers and safetensors raise many kinds, also plain ones
        if "trust_remote_code" in str(error) and name not in trusted:
            raise DistillationError(
                f"{shown(name)} needs Python code of its own, which is not run unless you allow it. Read that code, "
                f"then set `trust_remote_code: {name}` (flag --trust-remote-code {name})."
            ) from None
        if is_here:
            raise DistillationError(
                f"cannot load the model in the folder {name}: {type(error).__name__}: {error}. Save it again with "
                "save_pretrained, model and tokenizer."
            ) from error
        raise _not_given(name, error) from error


def _is_folder(name: str) -> bool:
    """Whether a name is a local folder; raises if it can be nothing else, but is not there."""
    try:
        if Path(name).is_dir():
            return True
        validate_repo_id(name)
        looks_local = Path(name).exists() or name.startswith((".", "/", "~"))
    except (HFValidationError, OSError, ValueError):  # OSError: longer than any name can be
        looks_local = True
    if looks_local:
        raise DistillationError(
            f"cannot load the model {shown(name)}: there is no such folder (seen from {Path.cwd()}), and it cannot be "
            f"a model of the Hub.{_near(name)} Check the path."
        )
    return False


def _ask_hub(name: str) -> None:
    """Ask the Hub once for a model that is not in the cache: its loader would try for a minute to reach it."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return
    if isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
        return
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(name, "config.json"))
    except EntryNotFoundError:
        return  # the loader says what it lacks
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code not in SERVER_ERRORS:
            raise _not_given(name, error) from error
    except Exception as error:  # of several layers: names that do not resolve, refused connections, timeouts
        raise _not_given(name, error) from error


def _not_given(name: str, error: Exception) -> DistillationError:
    """Return the error for a name that may be one of the Hub; one in or near a folder is rather local, misspelt."""
    near = _near(name)
    is_local = Path(name).parent.is_dir() if "/" in name else bool(near)
    kind = DistillationError if is_local else UnreachableError
    return kind(
        f"cannot load the model {shown(name)}: it must be a local folder (seen from {Path.cwd()}) or a Hub id that can "
        f"be reached or is in the cache.{near} {type(error).__name__}: {error}"
    )


def _near(name: str) -> str:
    """Propose the local folder whose name is near."""
    try:
        path = Path(name)
        if path.parent.is_dir():
            folders = [str(path.parent / item.name) for item in path.parent.iterdir() if item.is_dir()]
        else:  # perhaps it is the parent's name
            folders = [f"{item.name}/{path.name}" for item in Path().iterdir() if (item / path.name).is_dir()]
    except (OSError, ValueError):
        return ""
    return did_you_mean(name, folders)


@contextmanager
def hub_errors() -> Iterator[None]:
    """Raise a `DistillationError` for what a push raises: no network, no login, no right to write."""
    try:
        yield
    except DistillationError:
        raise
    # OSError: also a missing token and an environment that is offline. The others: an upload that failed on its way.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise DistillationError(
            f"the model was not pushed to the Hub: {type(error).__name__}: {error}. Log in with "
            "`hf auth login`, see that the Hub can be reached, and try again; save_model keeps the model on disk."
        ) from error
