"""A student goes to the Hub: which files, what of them names this machine, who may push, and one commit of it all."""

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from distilnlp.errors import DistillationError, shown
from distilnlp.files import PARTIAL
from distilnlp.models.loading import hub_errors
from distilnlp.recipe.sections import PushConfig
from distilnlp.recipe.text import refuse_secrets
from distilnlp.runs.folder import RECIPE_FILE, REPORT
from distilnlp.runs.models import student_folder
from distilnlp.runs.stages import HISTORY
from distilnlp.training.card import CARD, public_name

RESULTS = "results.json"
OF_RUN = (RECIPE_FILE, RESULTS, REPORT)  # of the run that a student lies in; in the repository in a folder of their own
RUN = "run"
WRITTEN = (".json", ".jsonl", ".md", ".txt", ".yaml", ".html")  # what is looked through for tokens
PATH = re.compile(r"(?<![\w./:])(?:/|~/)[^\s\"'<>|,;:)\]}]+")


@dataclass(frozen=True)
class Pushed:
    """What a push made.

    Attributes:
        repo_id: of the repository.
        url: of the commit.
        commit: its hash.
    """

    repo_id: str
    url: str
    commit: str


def push_saved(
    student: str,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    licence: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Push a student's folder to the Hub in one commit, and of the run that it lies in the recipe, results and report.

    What is there already is not sent again, so that a push that was cut off goes on where it stopped. Of paths of this
    machine the last two parts are pushed; the logs of the training are not.

    Args:
        student: its folder, or that of a run.
        repo_id: of the repository, which is made if it is not there: `name` or `owner/name`.
        private: whether it is made private; one that is there stays as it is.
        revision: branch, which is made if it is not there; None = main.
        licence: for the model card; None = what the card says.
        message: of the commit.

    Raises:
        DistillationError: there is no student, it holds a token, nobody is logged in, or the Hub refuses.
    """
    folder = student_folder(student)
    folder = folder / "student" if (folder / RESULTS).is_file() and (folder / "student").is_dir() else folder
    if not (folder / "config.json").is_file():
        raise DistillationError(f"expected the folder of a student, with config.json, but {student!r} has none.")
    repo_id = may_push(repo_id)
    content = contents(folder, licence)
    operations = [CommitOperationAdd(name, file) for name, file in sorted(content.items())]
    with hub_errors():
        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        made = api.create_commit(
            repo_id, operations, commit_message=message or "Push a student distilled with distilnlp", revision=revision
        )
    return Pushed(repo_id, str(made.commit_url), str(made.oid))


def push_of_run(config: PushConfig, output: Path) -> dict[str, Any]:
    """Push the student of a run as its recipe says, and return where it lies."""
    return asdict(push_saved(str(output), repository(config, output), config.private, config.revision))


def repository(config: PushConfig, output: Path) -> str:
    """Return what the repository of a run is called."""
    return config.repo_id or output.resolve().name


def may_push(repo_id: str) -> str:
    """Return the whole name of a repository that whoever is logged in may push to, as far as that can be told before.

    Raises:
        DistillationError: it is no name, nobody is logged in, the token is rejected or only reads, or the owner is
            another.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise DistillationError(f"{shown(repo_id)} is no name of a repository: {error} Give OWNER/NAME.") from None
    with hub_errors():
        known = HfApi().whoami()
    owners = [known["name"], *(own["name"] for own in known.get("orgs") or ())]
    owner = repo_id.split("/")[0] if "/" in repo_id else owners[0]
    role = ((known.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise DistillationError(
            f"the token of {owners[0]} may read but not write, so nothing can be pushed to {repo_id}. Make one that "
            "writes, and log in with `hf auth login`."
        )
    if owner not in owners:
        raise DistillationError(
            f"expected a repository of {' or '.join(owners)}, who is logged in, but {repo_id} is of {owner}. Name "
            "another, or log in with `hf auth login`."
        )
    return repo_id if "/" in repo_id else f"{owner}/{repo_id}"


def is_offline() -> bool:
    """Whether the Hub is not to be asked for anything."""
    return bool(huggingface_hub.constants.HF_HUB_OFFLINE)


def contents(folder: Path, licence: str | None = None) -> dict[str, Path | bytes]:
    """Return what is pushed of a student's folder, by its path in the repository.

    Raises:
        DistillationError: a file holds a token, or there are no weights that are safe to load.
    """
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if _is_pushed(folder, path)
    }
    if not any(name.endswith(".safetensors") for name in files):
        raise DistillationError(f"expected weights in safetensors in {folder}, but there are none. Save it anew.")
    files |= {f"{RUN}/{name}": folder.parent / name for name in OF_RUN if (folder.parent / name).is_file()}
    for name, file in files.items():
        if isinstance(file, Path) and name.endswith(WRITTEN):
            text = file.read_text(encoding="utf-8")
            refuse_secrets({name: text})
            public = without_paths(text) if name.startswith(RUN) or name == CARD else text
            if public != text:
                files[name] = public.encode()
    if licence is not None:
        card: Any = ModelCard.load(folder / CARD) if (folder / CARD).is_file() else ModelCard("---\n{}\n---\n")
        card.data.license = licence
        files[CARD] = without_paths(str(card)).encode()
    return files


def without_paths(text: str) -> str:
    """Return a text with the last two parts of every path that begins at a root or at home, if there is such a file."""

    def public(found: re.Match[str]) -> str:
        path = os.path.expanduser(found[0])
        known = next((part for part in (path, path.rstrip(".,")) if os.path.exists(part)), None)
        at_home = path.startswith((str(Path.home()), str(Path.cwd())))
        return found[0] if known is None and not at_home else public_name_of(path)

    return PATH.sub(public, text)


def public_name_of(path: str) -> str:
    """Return the end of a path, whether or not it is there."""
    return public_name(path) if Path(path).exists() else "/".join(Path(path).parts[-2:])


def _is_pushed(folder: Path, path: Path) -> bool:
    """Whether a file is part of the student: not what a training logged, what is half written or hidden."""
    names = path.relative_to(folder).parts
    is_log = names[0].split(".")[0] == HISTORY
    return path.is_file() and not (is_log or any(name.startswith(".") or PARTIAL in name for name in names))
