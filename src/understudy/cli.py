"""The commands."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Distil image classifiers, and know whether it helped.",
    epilog="Settings are key=value, as in [bold]train.epochs=30[/]; -c takes them from a YAML file.",
)
methods_app = typer.Typer(help="List the distillation methods, or explain one.", invoke_without_command=True)
app.add_typer(methods_app, name="methods")

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
Config = Annotated[list[Path] | None, typer.Option("--config", "-c", help="YAML file of settings; may be repeated.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved plan (data, sizes, layers, cost) and stop.")
]


@app.command()
def train(overrides: Overrides = None, config: Config = None, dry_run: DryRun = False) -> None:
    """Train a model on labels alone: a teacher, or a baseline.

    Examples:

      understudy train data=digits model=cnn-m out=runs/teacher

      understudy train data=path/to/image/folder model=resnet20 train.epochs=1

      understudy train data=digits model=cnn-m model.weights=other.pt train.optimizer=sgd train.optimizer.lr=0.1
    """
    _run("train", overrides, config, dry_run)


@app.command()
def distill(overrides: Overrides = None, config: Config = None, dry_run: DryRun = False) -> None:
    """Train a student with the help of a teacher.

    Examples:

      understudy distill data=digits teacher=runs/teacher student=cnn-xs method=kd method.temperature=4

      understudy distill data=digits teacher=runs/teacher student=cnn-xs method=logit-mse label.weight=0.5

      understudy distill -c runs/kd/config.yaml seed=2 out=runs/kd-2

      torchrun --nproc-per-node 2 -m understudy distill data=digits teacher=runs/teacher student=cnn-xs
    """
    _run("distill", overrides, config, dry_run)


@app.command()
def chain(overrides: Overrides = None, config: Config = None) -> None:
    """Train students one after the other, each with the help of the one before.

    Settings are those of `distill`, with chain=[FIRST,SECOND,...] or generations=N in place of one student. Without a
    teacher the first student learns from labels alone. Each run has a directory of its own below out=DIR.

    Examples:

      understudy chain data=digits chain=[cnn-m,cnn-s,cnn-xs] out=runs/assistants

      understudy chain data=digits student=cnn-xs generations=3 out=runs/born-again

      understudy chain data=digits teacher=runs/teacher chain=[cnn-s,cnn-xs] method.temperature=2 out=runs/takd
    """
    with _reported():
        from understudy.config import parse_override
        from understudy.engine.distributed import join, leave
        from understudy.experiments.chain import resolve_chain, run_chain
        from understudy.experiments.tables import chain_table

        links = resolve_chain(config or [], [parse_override(override) for override in overrides or []])
        world = join(links[0].settings.device)
        try:
            results = run_chain(links, world=world, say=_say)
        finally:
            leave()
        _print(chain_table(results))


@app.command()
def evaluate(
    arguments: Annotated[list[str], typer.Argument(metavar="[RUN] [KEY=VALUE]...", show_default=False)],
) -> None:
    """Evaluate a run, or any model on any data, on the validation and the test split.

    Examples:

      understudy evaluate runs/kd

      understudy evaluate runs/kd data=path/to/other/images

      understudy evaluate model=resnet56 model.weights=resnet56.safetensors data=path/to/images
    """
    with _reported():
        from understudy.config import parse_override
        from understudy.experiments.evaluate import evaluate_model
        from understudy.experiments.tables import evaluation_table

        runs = [argument for argument in arguments if "=" not in argument]
        if len(runs) > 1:
            raise UserError(f"evaluate takes one run, got {', '.join(runs)}")
        pairs = [parse_override(argument) for argument in arguments if "=" in argument]
        _print(evaluation_table(evaluate_model(runs[0] if runs else None, pairs)))


@app.command()
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
    with _reported():
        from understudy.experiments.demo import run_demo, save_demo
        from understudy.experiments.tables import comparison_table, verdict
        from understudy.report.comparison import save_comparison_figure

        comparison = run_demo(out, num_seeds=seeds, say=_say)
        table = save_demo(comparison, out)
        figure = save_comparison_figure(comparison.teacher, comparison.plain, comparison.distilled, out / "demo.png")
        _print(comparison_table(comparison))
        _say(verdict(comparison))
        _say(f"wrote {figure} and {table}; every run is below {out}")


@app.command()
def match(
    teacher: Annotated[str, typer.Option(help="A model name, a run directory or a saved model.")],
    student: Annotated[str, typer.Option(help="Likewise.")],
    size: Annotated[int | None, typer.Option(min=1, help="Height and width of the images; by default the models'.")] = (
        None
    ),
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    channels: Annotated[int, typer.Option(min=1, max=3, help="Channels of the images, 1 or 3.")] = 3,
) -> None:
    """Pair the layers of two models by depth and shape, as feature methods do unless told otherwise.

    Examples:

      understudy match --teacher resnet56 --student resnet20

      understudy match --teacher torchvision:resnet50 --student torchvision:mobilenet_v3_small --classes 1000

      understudy match --teacher cnn-m --student cnn-xs --channels 1
    """
    with _reported():
        from understudy.experiments.match import match_models, match_table

        _print(match_table(match_models(student, teacher, size=size, classes=classes, channels=channels)))
        _say("other layers: method.NAME.pairs=[[student layer, teacher layer], ...]")


@app.command()
def models() -> None:
    """List the models that come with understudy.

    Example:

      understudy models
    """
    with _reported():
        from understudy.experiments.tables import models_table

        _print(models_table())
        _say("also: torchvision:NAME, timm:NAME, path/to/file.py:function, a run directory, a saved .safetensors file")


@app.command()
def datasets() -> None:
    """List the data sets, with their settings.

    Example:

      understudy datasets
    """
    with _reported():
        from understudy.experiments.tables import datasets_table

        _print(datasets_table())
        _say("also: data=path/to/images, data=list.csv, data=hf:NAME, data=path/to/file.py:function")


@methods_app.callback()
def methods(context: typer.Context) -> None:
    """List the distillation methods; `understudy methods show NAME` explains one."""
    if context.invoked_subcommand is None:
        with _reported():
            from understudy.experiments.tables import methods_table

            _print(methods_table())


@methods_app.command("show")
def show_method(name: Annotated[str, typer.Argument(help="As listed by `understudy methods`.")]) -> None:
    """Explain one method: paper, terms, settings and their defaults.

    Example:

      understudy methods show kd
    """
    with _reported():
        from understudy.experiments.tables import method_page

        _say(method_page(name))


def _run(command: str, overrides: list[str] | None, files: list[Path] | None, dry_run: bool) -> None:
    with _reported():
        from understudy.config import parse_override
        from understudy.engine.distributed import join, leave
        from understudy.experiments.assemble import assemble
        from understudy.experiments.plan import plan_tables
        from understudy.experiments.run import run
        from understudy.experiments.settings import resolve
        from understudy.experiments.tables import result_table

        pairs = [parse_override(override) for override in overrides or []]
        settings = resolve("train" if command == "train" else "distill", files or [], pairs)
        if dry_run:
            return _print(*plan_tables(assemble(settings)))
        world = join(settings.device)
        try:
            result = run(settings, world=world, say=_say)
        finally:
            leave()
        _print(result_table(result))
        _say(f"wrote {settings.out}")
    return None


@contextmanager
def _reported() -> Generator[None]:
    """Show what a user did wrong as one line, with exit code 2; a stop that was asked for has code 130."""
    try:
        yield
    except UserError as error:
        _fail(str(error), 2)
    except Exception as error:
        # Without an import of torch's own type: --help must not wait for it.
        if type(error).__name__ == "Interrupted":
            raise typer.Exit(130) from None
        if type(error).__name__ == "OutOfMemoryError":
            _fail("the device is out of memory: lower train.batch_size, or set train.accumulate=2", 2)
        raise


def _fail(message: str, code: int) -> None:
    if _first():
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(code) from None


def _first() -> bool:
    """Whether this is the process that talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def _say(line: str) -> None:
    if _first():
        print(line, flush=True)


def _print(*renderables: Any) -> None:
    if _first():
        from rich.console import Console

        console = Console()
        for renderable in renderables:
            console.print(renderable)
