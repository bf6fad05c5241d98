"""The command that pairs layers."""

from typing import Annotated

import typer

from understudy.cli.terminal import reported, say, show


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
    with reported():
        from understudy.experiments.match import match_models, match_table

        show(match_table(match_models(student, teacher, size=size, classes=classes, channels=channels)))
        say("other layers: method.NAME.pairs=[[student layer, teacher layer], ...]")
