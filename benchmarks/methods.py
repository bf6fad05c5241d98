"""Every method against plain training on the digits: the same teacher, students, seeds and batches, published weights.

    python benchmarks/methods.py --seeds 5 --out runs/methods

Finished runs are not repeated. Methods that train in stages get their extra epochs; nothing is tuned.
"""

import argparse
import statistics
from pathlib import Path

from understudy.errors import UserError
from understudy.evaluation.statistics import paired_difference
from understudy.experiments.run import run
from understudy.experiments.settings import Command, resolve
from understudy.methods import METHODS


def accuracy(command: Command, out: Path, **chosen: object) -> float:
    """Test accuracy of one run, in percent."""
    settings = resolve(command, [], [("data", "digits"), ("out", str(out)), *chosen.items()])
    return 100 * run(settings, say=lambda line: None)["test"]["accuracy"]


def row(name: str, found: list[float], plain: list[float]) -> str:
    """One line of the table."""
    difference = paired_difference(found, plain)
    start = f"| `{name}` | {statistics.mean(found):.2f} ± {statistics.stdev(found):.2f} | {difference.mean:+.2f}"
    if difference.p_value is None:
        return f"{start} | |"
    return f"{start} [{difference.low:+.2f}, {difference.high:+.2f}] | {difference.p_value:.3f} |"


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--only", nargs="*", help="methods; all by default")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    teacher = options.out / "teacher"
    accuracy("train", teacher, model="cnn-m", seed=0)
    plain = [accuracy("train", options.out / f"plain-{seed}", model="cnn-xs", seed=seed) for seed in seeds]
    print("| method | test accuracy (%) | minus plain, 95 % interval | p |\n|---|---|---|---|")
    print(f"| plain | {statistics.mean(plain):.2f} ± {statistics.stdev(plain):.2f} | | |")
    for name in options.only or METHODS.names():
        common = {
            "teacher": str(teacher),
            "student": "cnn-xs",
            "method": name,
            "cache.path": str(options.out / "cache"),
        }
        if METHODS.get(name).needs_exits:
            common["student.exits"] = "auto"
        try:
            found = [accuracy("distill", options.out / f"{name}-{seed}", seed=seed, **common) for seed in seeds]
        except UserError as error:
            print(f"| `{name}` | refused: {error} | | |", flush=True)
            continue
        print(row(name, found, plain), flush=True)


if __name__ == "__main__":
    main()
