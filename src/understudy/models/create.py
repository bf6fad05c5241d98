"""A classifier from a name."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from understudy.classifier import Classifier, InputSpec
from understudy.errors import UserError
from understudy.models.naming import find_source
from understudy.models.saved import is_saved, load_model, read_header
from understudy.models.source import Source, fresh_spec
from understudy.models.weights import load_weights

PRETRAINED_SUFFIX = "[pretrained]"

logger = logging.getLogger(__name__)


def create_model(
    name: str,
    *,
    classes: int | Sequence[str],
    channels: int = 3,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
    weights: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Classifier:
    """A network with its preprocessing and class names.

    Args:
        name: One of `model_names()`, `torchvision:NAME`, `timm:NAME`, `PATH/FILE.py:FUNCTION`; or a run directory or a
            `.safetensors` file of `save_model`, which keep their own preprocessing and refuse the arguments below
            `channels`. `[pretrained]` after a name is `pretrained=True`.
        classes: Class names in the order of the logits, or their number: then they are called 0, 1, ...
        channels: Channels of the images, 1 or 3. torchvision and published weights always take 3: grey is repeated.
        size: (height, width) that images are resized to; None is that of the published weights with `pretrained`, and
            otherwise as the images come, unless the network takes one size only.
        mean: Mean per channel of pixels in 0..1; None is that of the published weights, ImageNet's for fresh networks,
            0.5 for grey. One value serves all channels.
        std: Standard deviation per channel, likewise.
        pretrained: Start from the published weights, with a fresh head if the number of classes differs.
        weights: A checkpoint to load, see `load_weights`. With `pretrained` it stands for the published weights.
        settings: Architecture settings, keyword arguments of the builder.

    Raises:
        UserError: The name, a setting or an argument is wrong, or weights are missing or do not fit.
    """
    name, pretrained = name.removesuffix(PRETRAINED_SUFFIX), pretrained or name.endswith(PRETRAINED_SUFFIX)
    class_names = _class_names(classes)
    if is_saved(name):
        given = {"size": size, "mean": mean, "std": std, "pretrained": pretrained or None, "weights": weights}
        refused = [key for key, value in {**given, **(settings or {})}.items() if value is not None]
        if refused:
            raise UserError(f"'{name}' is a trained model that keeps what it was made with: leave out {refused[0]}")
        return _load_saved(name, classes, class_names)
    source = find_source(name)
    published = _published(source, has_file=weights is not None) if pretrained else None
    built = source.build(
        num_classes=len(class_names),
        channels=_checked_channels(channels) if published is None else published.channels,
        settings=settings or {},
        download=pretrained and weights is None,
    )
    if weights is not None:
        for note in load_weights(built.network, weights, replace_head=pretrained):
            logger.info("%s: %s", weights, note)
    spec = _with_statistics(published or fresh_spec(built.channels), mean, std)
    spec = replace(spec, size=_input_size(name, built.size, size, spec.size))
    return Classifier(built.network, spec=spec, classes=class_names, name=name, settings=dict(settings or {}))


def default_size(name: str) -> int:
    """Height and width in pixels that images for a model should have.

    Args:
        name: As `create_model` takes it.

    Raises:
        UserError: Nothing has this name.
    """
    name = name.removesuffix(PRETRAINED_SUFFIX)
    if is_saved(name):
        header = read_header(name)
        return default_size(header.name) if header.spec.size is None else max(header.spec.size)
    return find_source(name).default_size()


def _load_saved(path: str, classes: int | Sequence[str], class_names: tuple[str, ...]) -> Classifier:
    model = load_model(path)
    if len(class_names) != len(model.classes):
        raise UserError(f"'{path}' has {len(model.classes)} classes, the data {len(class_names)}: choose matching data")
    if not isinstance(classes, int) and class_names != model.classes:
        own, other = next(pair for pair in zip(model.classes, class_names, strict=True) if pair[0] != pair[1])
        raise UserError(f"'{path}' has the class '{own}' where the data has '{other}': choose matching data")
    return model


def _class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    if len(names) < 2:
        raise UserError(f"a classifier needs two classes or more, not {len(names)}")
    return names


def _checked_channels(channels: int) -> int:
    if channels not in (1, 3):
        raise UserError(f"images have 1 or 3 channels, not {channels}: convert them")
    return channels


def _published(source: Source, *, has_file: bool) -> InputSpec | None:
    published = source.published()
    if published is None and not has_file:
        raise UserError(f"'{source.name}' has no published weights: leave out pretrained, or give a file as weights")
    return published


def _with_statistics(spec: InputSpec, mean: Sequence[float] | None, std: Sequence[float] | None) -> InputSpec:
    for values in (mean, std):
        if values is not None and len(values) not in (1, spec.channels):
            raise UserError(f"mean and std need one value or {spec.channels}, not {list(values)}")
    return replace(spec, mean=_per_channel(mean, spec.mean), std=_per_channel(std, spec.std))


def _per_channel(values: Sequence[float] | None, default: tuple[float, ...]) -> tuple[float, ...]:
    if values is None:
        return default
    return tuple(values) * len(default) if len(values) == 1 else tuple(values)


def _input_size(
    name: str, fixed: tuple[int, int] | None, wanted: tuple[int, int] | None, published: tuple[int, int] | None
) -> tuple[int, int] | None:
    wanted = None if wanted is None else (wanted[0], wanted[1])
    if fixed is not None and wanted not in (None, fixed):
        raise UserError(f"'{name}' takes images of {fixed[0]}x{fixed[1]} only, not {wanted[0]}x{wanted[1]}")
    return fixed or wanted or published
