"""The student of a run with its policy as ONNX files."""

from pathlib import Path

from understudy.exits.export import Exported, export_exits
from understudy.experiments.exit_run import Overrides, open_run, read_policy

# Enough that each exit sees some, few enough to be quick.
NUM_COMPARED = 64


def export_run(run: str, overrides: Overrides = (), *, out: str | None = None) -> Exported:
    """Write the files (see `understudy.exits.export.export_exits`), compared on training images.

    Args:
        run: A run directory with a policy.
        overrides: Dotted keys and values for data.
        out: The folder; by default `onnx` below the run.

    Raises:
        UserError: There is no policy, as `open_run`, or as `export_exits`.
    """
    policy, _ = read_policy(run)
    opened = open_run(run, [*overrides, ("device", "cpu")])
    folder = opened.path / "onnx" if out is None else Path(out)
    return export_exits(opened.staged, opened.made.sample(NUM_COMPARED).image, policy, folder)
