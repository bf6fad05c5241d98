"""Commands that measure."""

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.terminal import reported, say, show
from understudy.errors import UserError


def evaluate(
    arguments: Annotated[list[str], typer.Argument(metavar="[RUN] [KEY=VALUE]...", show_default=False)],
) -> None:
    """Evaluate a run, or any model on any data, on the validation and the test split.

    Examples:

      understudy evaluate runs/kd

      understudy evaluate runs/kd data=path/to/other/images

      understudy evaluate model=resnet56 model.weights=resnet56.safetensors data=path/to/images
    """
    with reported():
        from understudy.config import parse_override
        from understudy.experiments.evaluate import evaluate_model
        from understudy.experiments.tables import evaluation_table

        runs = [argument for argument in arguments if "=" not in argument]
        if len(runs) > 1:
            raise UserError(f"evaluate takes one run, got {', '.join(runs)}")
        pairs = [parse_override(argument) for argument in arguments if "=" in argument]
        show(evaluation_table(evaluate_model(runs[0] if runs else None, pairs)))


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
