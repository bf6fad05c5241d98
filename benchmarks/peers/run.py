"""The same distillation with the textbook loop, understudy, and other tool kits, in turn, each in its own process.

ResNet-56 teaches ResNet-20 by KD with T = 4 at batch 128, SGD, crops and flips; each tool kit through its own loop, all
on one thread. The figures are those of the marginal steps, data loading included: `--many` steps minus `--few`.

    python -m benchmarks.peers.install
    OMP_NUM_THREADS=1 python -m benchmarks.peers.run --check
    OMP_NUM_THREADS=1 python -m benchmarks.peers.run --rounds 3 --out peers.json

`--check` compares instead what one step without augmentation does to the student's weights: the same work, the same
result. `--understudy NAME KEY=VALUE ...`, which may be repeated, measures understudy with settings of `understudy
distill`. A tool kit that is not installed or does not run is reported and left out.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import ROOT, add_options
from benchmarks.peers.install import peers, python_of
from benchmarks.timing import shown, summary

BASE = "textbook"
FIGURES = ("cpu_ms_per_step", "images_per_cpu_s", "images_per_s", "peak_mb")
# Of the largest change of a weight; bf16 stays below it, another loss or learning rate does not.
TOLERANCE = 0.05

Found = dict[str, Any]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--few", type=int, default=5, help="steps of the shorter run")
    parser.add_argument("--many", type=int, default=25, help="steps of the longer run")
    parser.add_argument("--workers", type=int, default=0, help="loader processes, whose CPU time counts")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"tool kits, of {', '.join(peers())}; all by default")
    parser.add_argument("--understudy", nargs="+", action="append", metavar=("NAME", "KEY=VALUE"))
    parser.add_argument("--check", action="store_true", help="compare one step's result, measure nothing")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    if not 0 < given.few < given.many or given.rounds < 1:
        parser.error("--rounds must be at least 1, and --few at least 1 and less than --many")
    return given


def commands(given: argparse.Namespace) -> dict[str, list[str]]:
    """The command of each side; those that are not installed are named and left out."""
    found = {BASE: _command(Path(sys.executable), "textbook", given, [])}
    for name, *settings in given.understudy or [["understudy"]]:
        found[name] = _command(Path(sys.executable), "understudy", given, settings)
    for name in peers() if given.only is None else given.only:
        if python_of(name).exists():
            found[name] = _command(python_of(name), name, given, [])
        else:
            print(f"{name}: not installed, run `python -m benchmarks.peers.install {name}`", flush=True)
    return found


def ask(name: str, command: list[str]) -> Found | None:
    """What a side prints; None, and the end of its error messages, if it fails."""
    # Pools that wait busily would take CPU time for nothing.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: does not run\n" + "\n".join(done.stderr.splitlines()[-5:]), flush=True)
    return None


def measure(sides: dict[str, list[str]], rounds: int) -> dict[str, list[Found]]:
    """All sides in turn; one that fails is left out from then on."""
    found: dict[str, list[Found]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in list(found):
            answer = ask(name, sides[name])
            if answer is None:
                del found[name]
            else:
                found[name].append(answer)
    return found


def table(found: dict[str, list[Found]]) -> dict[str, Found]:
    """Medians and ranges, and how many times as fast as the textbook loop of the same round."""
    rows: dict[str, Found] = {}
    for name, runs in found.items():
        pairs = zip(runs, found.get(BASE, []), strict=False)
        ratios = [run["images_per_cpu_s"] / base["images_per_cpu_s"] for run, base in pairs]
        rows[name] = {
            "version": runs[0]["version"],
            "torch": runs[0]["torch"],
            **{figure: summary([run[figure] for run in runs]) for figure in FIGURES},
            "times_textbook": summary(ratios) if ratios else None,
        }
    return rows


def show(rows: dict[str, Found]) -> None:
    """Print the table."""
    print("| | version | CPU ms a step | images per CPU second | images per second | peak MB | x textbook |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        ratio = row["times_textbook"]
        cells = [name, row["version"], *(shown(row[figure]) for figure in FIGURES), shown(ratio, 2) if ratio else ""]
        print(f"| {' | '.join(cells)} |")


def compare(sides: dict[str, list[str]]) -> dict[str, float]:
    """The largest difference of one step's result from the textbook loop's, relative to its largest change."""
    moved = {name: answer["moved"] for name, command in sides.items() if (answer := ask(name, command)) is not None}
    if BASE not in moved:
        sys.exit("the textbook loop does not run: there is nothing to compare with")
    base = torch.tensor(moved[BASE])
    return {name: float((torch.tensor(change) - base).abs().max() / base.abs().max()) for name, change in moved.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or compare and stop with an error where a side does other work."""
    given = parsed(arguments)
    sides = commands(given)
    result: Found = {"rounds": given.rounds, "few": given.few, "many": given.many, "batch": given.batch}
    if given.check:
        far = compare(sides)
        for name, difference in far.items():
            print(f"{name:16} differs from the textbook step by {difference:.1e} of its largest change")
        result |= {"differences": far}
    else:
        rows = table(measure(sides, given.rounds))
        show(rows)
        result |= {"sides": rows}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2))
    wrong = [name for name, difference in result.get("differences", {}).items() if not difference < TOLERANCE]
    if wrong:
        sys.exit(f"other work than the textbook loop's: {', '.join(wrong)}")


def _command(python: Path, name: str, given: argparse.Namespace, settings: list[str]) -> list[str]:
    shared = {"images": given.images, "teacher": given.teacher, "batch": given.batch}
    shared |= {"few": given.few, "many": given.many, "workers": given.workers}
    options = [part for key, value in shared.items() for part in (f"--{key}", str(value))]
    check = ["--check"] if given.check else []
    return [str(python), "-m", "benchmarks.peers.side", name, *options, *check, "--settings", *settings]


if __name__ == "__main__":
    main()
