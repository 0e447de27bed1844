"""Rows from a Python function of the user's."""

import importlib
import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distilnlp.data.files import missing_file
from distilnlp.errors import DistillationError, did_you_mean, shortened


def call_function(reference: str) -> Any:
    """Return what a function gives: `package.module:function` or `path/to/file.py:function`.

    Raises:
        DistillationError: there is no such function, or it fails or exits.
    """
    module_name, _, function_name = reference.rpartition(":")
    if not module_name or not function_name:
        raise DistillationError(f"expected package.module:function or path/to/file.py:function, but got {reference!r}.")
    module = _module_from_file(Path(module_name)) if module_name.endswith(".py") else _import(module_name)
    function: Callable[[], Any] | None = getattr(module, function_name, None)
    if not callable(function):
        hint = did_you_mean(function_name, dir(module))
        raise DistillationError(f"{module_name} has no function {function_name!r}.{hint}")
    return _run(function, reference)


def _run(code: Callable[[], Any], reference: str) -> Any:
    try:
        return code()
    except (DistillationError, KeyboardInterrupt):  # the first says what is wrong by itself, the second is the user
        raise
    except BaseException as error:  # the user's own code may raise anything, and sys.exit is no Exception
        last = "".join(traceback.format_exception(error)[-2:])
        raise DistillationError(f"{reference} failed: {shortened(last, 1000)}") from error


def _import(name: str) -> Any:
    try:
        return _run(lambda: importlib.import_module(name), name)
    except DistillationError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        raise DistillationError(
            f"cannot import {name!r}: {error.__cause__}. Install it, or give a file as `path/to/file.py:function`."
        ) from error


def _module_from_file(path: Path) -> Any:
    if not path.is_file():
        raise DistillationError(missing_file(path))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # the ending is .py
    assert spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    _run(lambda: loader.exec_module(module), str(path))
    return module
