"""Networks of torchvision: `torchvision:NAME`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from understudy.classifier import InputSpec
from understudy.errors import UserError, did_you_mean
from understudy.models.head import replace_head
from understudy.models.source import Built, Source, imagenet_classes

# Their auxiliary classifiers would make the training output a tuple. Their weights want pixels in -1..1, for which
# torchvision appends a layer without parameters; here the spec says so, and a saved model keeps it.
AUXILIARY = ("googlenet", "inception_v3")
HALF = (0.5, 0.5, 0.5)


class TorchvisionSource(Source):
    """A classification network of torchvision; its published weights are torchvision's `DEFAULT`.

    Args:
        name: `torchvision:` and one of torchvision's names.

    Raises:
        UserError: There is no such name.
    """

    def __init__(self, name: str) -> None:
        from torchvision import models

        super().__init__(name)
        self._model = name.removeprefix("torchvision:")
        known = models.list_models(module=models)
        if self._model not in known:
            raise UserError(f"torchvision has no classifier '{self._model}': {did_you_mean(self._model, known)}")

    def build(self, *, num_classes: int, channels: int, settings: Mapping[str, object], download: bool) -> Built:
        """The network for three channels; grey images are repeated."""
        options: dict[str, Any] = dict(settings)
        if self._model in AUXILIARY:
            # Published weights are read with these classifiers, see `_download`.
            own = {"init_weights": False} if download else {"init_weights": True, "aux_logits": False}
            options = {**own, "transform_input": False, **options}
        network = self._download(options) if download else self._fresh(num_classes, options)
        if download and num_classes != len(self._weights().meta["categories"]):
            replace_head(network, num_classes)
        size = getattr(network, "image_size", None)
        return Built(network, channels=3, size=None if size is None else (size, size))

    def default_size(self) -> int:
        """224, ImageNet's usual size."""
        return 224

    def published(self) -> InputSpec:
        """What the transforms of torchvision's default weights say; GoogLeNet and Inception change it themselves."""
        transforms = self._weights().transforms()
        size = transforms.crop_size[0]
        if self._model in AUXILIARY:
            return InputSpec(size=(size, size), mean=HALF, std=HALF)
        return InputSpec(size=(size, size), mean=tuple(transforms.mean), std=tuple(transforms.std))

    def weights_place(self) -> Path:
        """Where torch's hub keeps what it has downloaded."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(self._weights().url).path).name

    def published_classes(self) -> list[tuple[str, ...]]:
        """Torchvision's words, and WordNet ids."""
        return [tuple(self._weights().meta["categories"]), imagenet_classes()[1]]

    def _weights(self) -> Any:
        from torchvision.models import get_model_weights

        weights: Any = get_model_weights(self._model)
        return weights.DEFAULT

    def _fresh(self, num_classes: int, options: dict[str, Any]) -> nn.Module:
        from torchvision.models import get_model

        try:
            return get_model(self._model, num_classes=num_classes, **options)
        except TypeError as error:
            raise UserError(f"cannot build '{self.name}' with settings {options}: {error}") from error

    def _download(self, options: dict[str, Any]) -> nn.Module:
        from torchvision.models import get_model

        weights = self._weights()
        keep = options.pop("aux_logits", False)
        options = {**options, "aux_logits": True} if keep else options
        try:
            network = get_model(self._model, weights=weights, progress=False, **options)
        except OSError as error:
            place = self.weights_place()
            raise UserError(
                f"cannot fetch the weights of '{self.name}' ({error}): put {place.name} into {place.parent}, "
                "or give the file as weights"
            ) from error
        return network if keep else _without_auxiliary(network)


def _without_auxiliary(network: nn.Module) -> nn.Module:
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(network, name):
            network.register_module(name, None)
            network.__dict__["aux_logits"] = False
    return network
