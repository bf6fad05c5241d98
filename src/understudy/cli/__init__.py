"""The commands."""

import typer

from understudy.cli import cache, exits
from understudy.cli.catalogue import datasets, methods, models, show_method
from understudy.cli.doctor import doctor
from understudy.cli.layers import match
from understudy.cli.measure import demo, evaluate
from understudy.cli.multiple_exp import multiple_exp
from understudy.cli.report import report
from understudy.cli.reproduce import reproduce
from understudy.cli.search import search
from understudy.cli.studies import study
from understudy.cli.training import chain, distill, mutual, train

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
TRAINING = (train, distill, chain, mutual, study, search, reproduce)
for command in (*TRAINING, doctor, evaluate, report, demo, match, models, datasets):
    app.command()(command)
app.command("multiple-exp")(multiple_exp)
# As its script is called.
app.command("multiple_exp", hidden=True)(multiple_exp)
methods_app.callback()(methods)
methods_app.command("show")(show_method)

cache_app = typer.Typer(help="A teacher's answers on disk: build, list, check, delete.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
for command in (cache.build, cache.info, cache.verify, cache.prune):
    cache_app.command()(command)

exits_app = typer.Typer(help="Early exits of a run: thresholds, what they are worth, ONNX.", no_args_is_help=True)
app.add_typer(exits_app, name="exits")
for command in (exits.calibrate, exits.evaluate, exits.export, exits.compare):
    exits_app.command()(command)
