"""One tool kit in a process of its own: `python -m benchmarks.peers.side NAME`, called by `benchmarks.peers.run`."""

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor

from benchmarks.data import add_options, load, networks
from benchmarks.peers.work import Train, Work
from benchmarks.timing import marginal, peak_mb


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What `benchmarks.peers.run` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    add_options(parser)
    parser.add_argument("--few", type=int, default=5)
    parser.add_argument("--many", type=int, default=25)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--settings", nargs="*", default=[])
    parser.add_argument("--check", action="store_true", help="print what one step does to the weights instead")
    return parser.parse_args(arguments)


def make_work(given: argparse.Namespace, steps: int) -> Work:
    """Fresh networks, the same ones each time, and images for that many steps."""
    data = load(given.images, steps * given.batch, held_out=given.batch)
    teacher, student = networks(given.teacher, data.classes)
    return Work(
        data,
        teacher,
        student,
        given.batch,
        augment=not given.check,
        workers=given.workers,
        settings=tuple(given.settings),
    )


def measure(train: Train, given: argparse.Namespace) -> dict[str, float]:
    """Images per second and memory of the marginal steps."""

    def prepare(steps: int) -> Callable[[], None]:
        work = make_work(given, steps)
        return lambda: train(work)

    spent = marginal(prepare, given.few, given.many)
    return {
        "cpu_ms_per_step": 1e3 * spent.cpu,
        "images_per_cpu_s": given.batch / spent.cpu,
        "images_per_s": given.batch / spent.wall,
        "peak_mb": peak_mb(),
    }


def check(train: Train, given: argparse.Namespace) -> dict[str, list[float]]:
    """How far one step without augmentation moves the student's parameters and BatchNorm statistics."""
    work = make_work(given, 1)
    before = _weights(work)
    train(work)
    return {"moved": (_weights(work) - before).tolist()}


def _weights(work: Work) -> Tensor:
    tensors = work.student.network.state_dict().values()
    return torch.cat([tensor.detach().flatten() for tensor in tensors if tensor.is_floating_point()]).clone()


def main() -> None:
    """Print one line of JSON; what the tool kit itself prints goes to the error stream."""
    given = options()
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):
        module = importlib.import_module(f"benchmarks.peers.with_{given.name}")
        found = (check if given.check else measure)(module.train, given)
    print(json.dumps({"version": f"{module.PACKAGE} {version(module.PACKAGE)}", "torch": torch.__version__, **found}))


if __name__ == "__main__":
    main()
