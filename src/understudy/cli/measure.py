"""Commands that measure."""

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.terminal import reported, say, show
from understudy.errors import UserError


def evaluate(
    arguments: Annotated[list[str], typer.Argument(metavar="[RUN] [KEY=VALUE]...", show_default=False)],
) -> None:
    """Measure a run, or any model on any data, on the validation and the test split.

    Scores with intervals, calibration before and after a fitted temperature, fidelity to the teacher, each class, and
    cost. Of a run everything goes into its directory as evaluation.json and evaluation/; with other data, and of other
    models, only out=DIR writes.

    Examples:

      understudy evaluate runs/kd

      understudy evaluate runs/kd data=path/to/other/images out=runs/kd-elsewhere

      understudy evaluate model=resnet56 model.weights=resnet56.safetensors data=path/to/images
    """
    with reported():
        from understudy.config import parse_override
        from understudy.experiments.evaluate import evaluate_model, has_own_data
        from understudy.experiments.evaluation_tables import evaluation_tables

        runs = [argument for argument in arguments if "=" not in argument]
        if len(runs) > 1:
            raise UserError(f"evaluate takes one run, got {', '.join(runs)}")
        pairs = [parse_override(argument) for argument in arguments if "=" in argument]
        chosen = [value for key, value in pairs if key == "out"]
        pairs = [(key, value) for key, value in pairs if key != "out"]
        run = runs[0] if runs else None
        record = evaluate_model(run, pairs, say=say)
        show(*evaluation_tables(record))
        out = str(chosen[-1]) if chosen else run if has_own_data(pairs) else None
        if out is not None:
            _save_evaluation(record, out)


def _save_evaluation(record: dict[str, Any], out: str) -> None:
    from understudy.record import RunDirectory, write_json
    from understudy.report.reliability import reliability_panels, save_reliability_figure

    directory = RunDirectory(out)
    with directory.locked():
        write_json(directory.evaluation, record)
        directory.figures.mkdir(exist_ok=True)
        figure = save_reliability_figure(reliability_panels(record), directory.figures / "reliability.png")
    say(f"wrote {directory.evaluation} and {figure}")


def demo(
    out: Annotated[Path, typer.Option(help="Where runs, table and figure go.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(min=2, help="Pairs of a plain and a distilled student.")] = 10,
) -> None:
    """Show the main job on scikit-learn's handwritten digits: no download, a few minutes on a laptop.

    A teacher is trained; then, for each seed, the same small student twice, plain and distilled, from the same weights
    on the same batches. The table says whether distillation helped, and how sure that is.

    Example:

      understudy demo --seeds 10 --out runs/demo
    """
    with reported():
        from understudy.experiments.demo import run_demo, save_demo
        from understudy.experiments.tables import comparison_table, verdict
        from understudy.report.comparison import save_comparison_figure

        comparison = run_demo(out, num_seeds=seeds, say=say)
        table = save_demo(comparison, out)
        figure = save_comparison_figure(comparison.teacher, comparison.plain, comparison.distilled, out / "demo.png")
        show(comparison_table(comparison))
        say(verdict(comparison))
        say(f"wrote {figure} and {table}; every run is below {out}")
