"""Commands that list what there is."""

from typing import Annotated

import typer

from understudy.cli.terminal import reported, say, show


def models() -> None:
    """List the models that come with understudy.

    Example:

      understudy models
    """
    with reported():
        from understudy.experiments.catalogue import models_table

        show(models_table())
        say("also: torchvision:NAME, timm:NAME, path/to/file.py:function, a run directory, a saved .safetensors file")


def datasets() -> None:
    """List the data sets, with their settings.

    Example:

      understudy datasets
    """
    with reported():
        from understudy.experiments.catalogue import datasets_table

        show(datasets_table())
        say("also: data=path/to/images, data=list.csv, data=hf:NAME, data=path/to/file.py:function")


def methods(context: typer.Context) -> None:
    """List the distillation methods; `understudy methods show NAME` explains one."""
    if context.invoked_subcommand is None:
        with reported():
            from understudy.experiments.catalogue import methods_table

            show(methods_table())


def show_method(name: Annotated[str, typer.Argument(help="As listed by `understudy methods`.")]) -> None:
    """Explain one method: paper, terms, settings and their defaults.

    Example:

      understudy methods show kd
    """
    with reported():
        from understudy.experiments.catalogue import method_page

        say(method_page(name))
