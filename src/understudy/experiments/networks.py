"""Settings and a user's own networks -> classifiers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from understudy.classifier import Classifier, InputSpec
from understudy.data import ImageData
from understudy.errors import UserError
from understudy.experiments.sections import DataSettings, ModelSettings
from understudy.experiments.sizes import Size, height_and_width
from understudy.models import create_model
from understudy.models.create import PRETRAINED_SUFFIX
from understudy.models.saved import is_saved
from understudy.taps import evaluating

Tree = Mapping[str, Any]


def own_settings(chosen: Tree, common: type[DataSettings] | type[ModelSettings]) -> dict[str, Any]:
    """The settings of a data set or an architecture without those that all of its kind have."""
    return {key: value for key, value in chosen.items() if key not in common.model_fields}


def make_classifier(
    chosen: Tree, common: type[ModelSettings], data: ImageData, size: int, *, classes: Sequence[str] | None = None
) -> Classifier:
    """The classifier that settings name.

    Args:
        chosen: The settings of the model.
        common: What all models of this kind can be told.
        data: Gives classes and normalisation where the settings do not.
        size: Height and width of the batches in pixels.
        classes: Class names; None takes those of the data.
    """
    # Published weights and saved models bring their own normalisation.
    published = chosen["pretrained"] or chosen["name"].endswith(PRETRAINED_SUFFIX)
    fresh = not published and not is_saved(chosen["name"])
    model = create_model(
        chosen["name"],
        classes=data.classes if classes is None else classes,
        channels=data.channels,
        size=chosen["size"] and height_and_width(chosen["size"], size),
        mean=chosen["mean"] or (data.mean if fresh else None),
        std=chosen["std"] or (data.std if fresh else None),
        pretrained=chosen["pretrained"],
        weights=chosen["weights"],
        settings=own_settings(chosen, common),
    )
    if model.spec.size is not None:
        return model
    # It takes images as they come: write down at which size it is trained, for whoever uses it later.
    spec = replace(model.spec, size=(size, size))
    return Classifier(
        model.network,
        spec=spec,
        classes=model.classes,
        name=model.name,
        settings=model.settings,
        changes=model.changes,
    )


def wrapped(network: nn.Module, data: ImageData, size: int, *, chosen: Size | None = None) -> Classifier:
    """A user's network as a classifier: a bare one wants images normalised with the data's mean and deviation.

    Args:
        network: A bare network or a classifier, which says for itself what it wants.
        data: Gives classes and normalisation.
        size: Height and width of the batches in pixels.
        chosen: The size in the network's settings.

    Raises:
        UserError: A classifier has other classes than the data, or a size was chosen for it.
    """
    if isinstance(network, Classifier):
        refuse_size(chosen)
        if network.classes != data.classes:
            raise UserError(
                f"a network has the classes {network.classes}, the data {data.classes}: choose matching data"
            )
        return network
    seen = (size, size) if chosen is None else height_and_width(chosen, size)
    spec = InputSpec(seen, data.channels, data.mean, data.std)
    return Classifier(network, spec=spec, classes=data.classes)


def refuse_size(chosen: Size | None) -> None:
    """Refuse a size for a network that comes with its own.

    Raises:
        UserError: One was chosen.
    """
    if chosen is not None:
        raise UserError(f"a Classifier says for itself at which size it sees the images: leave out size={chosen}")


def check_takes(role: str, model: nn.Module, image: Tensor, num_classes: int) -> None:
    """Refuse a network that cannot take the batches or has another number of logits than the data has classes.

    Args:
        role: `teacher` or `student`, for the message.
        model: The network.
        image: Images as in the batches (batch, channels, height, width).
        num_classes: Number of classes of the data.

    Raises:
        UserError: It fails on the images, or its logits have another shape.
    """
    given = tuple(image.shape[2:])
    seen = (model.spec.size if isinstance(model, Classifier) else None) or given
    try:
        with evaluating(model), torch.no_grad():
            logits = model(image)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the {role} cannot take images of {seen[0]}x{seen[1]} pixels ({reason}): "
            f"set {'data' if seen == given else role}.size to what it was made for"
        ) from error
    if tuple(logits.shape) != (len(image), num_classes):
        raise UserError(
            f"the {role} gives logits of shape {tuple(logits.shape[1:])} for {num_classes} classes: "
            "choose a network with one logit for each class"
        )
