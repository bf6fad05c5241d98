"""Networks of timm: `timm:NAME` or `timm:NAME.TAG`."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from understudy.classifier import InputSpec
from understudy.errors import UserError, did_you_mean
from understudy.models.source import Built, Source, imagenet_classes


class TimmSource(Source):
    """A network of timm; its published weights are those of the tag, or of timm's default tag.

    Args:
        name: `timm:` and one of timm's names.

    Raises:
        UserError: There is no such name.
    """

    def __init__(self, name: str) -> None:
        import timm

        super().__init__(name)
        self._model = name.removeprefix("timm:")
        if not timm.is_model(self._model):
            raise UserError(f"timm has no model '{self._model}': {did_you_mean(self._model, timm.list_models())}")

    def build(self, *, num_classes: int, channels: int, settings: Mapping[str, object], download: bool) -> Built:
        """The network; settings are passed on to `timm.create_model`."""
        options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels, **settings}
        network = self._download(options) if download else self._create(options)
        published: dict[str, Any] = getattr(network, "pretrained_cfg", {})
        size = None
        if published.get("fixed_input_size"):
            size = _pair(options.get("img_size") or published["input_size"][-2:])
        return Built(network, channels, size)

    def default_size(self) -> int:
        """The size of the published weights, 224 without any."""
        spec = self.published()
        return 224 if spec is None or spec.size is None else spec.size[0]

    def published(self) -> InputSpec | None:
        """What timm's `pretrained_cfg` says."""
        import timm

        config: Any = timm.get_pretrained_cfg(self._model)
        if config is None or not (config.hf_hub_id or config.url or config.file):
            return None
        return InputSpec(
            size=tuple(config.input_size[-2:]),
            channels=config.input_size[0],
            mean=tuple(config.mean),
            std=tuple(config.std),
        )

    def published_classes(self) -> list[tuple[str, ...]]:
        """Those of weights for ImageNet or a part of it."""
        import timm
        from timm.data.imagenet_info import infer_imagenet_subset

        config: Any = timm.get_pretrained_cfg(self._model)
        subset = None if config is None else infer_imagenet_subset(config.to_dict())
        return [] if subset is None else imagenet_classes(subset)

    def _create(self, options: dict[str, Any], *, pretrained: bool = False) -> nn.Module:
        import timm

        try:
            return timm.create_model(self._model, pretrained=pretrained, **options)
        except TypeError as error:
            raise UserError(f"cannot build '{self.name}' with settings {options}: {error}") from error

    def _download(self, options: dict[str, Any]) -> nn.Module:
        import timm

        try:
            with _quiet_hub():
                return self._create(options, pretrained=True)
        except OSError as error:
            config: Any = timm.get_pretrained_cfg(self._model)
            reason = str(error).partition("\n")[0]
            origin = f"model.safetensors of the Hugging Face repository {config.hf_hub_id}"
            raise UserError(
                f"cannot fetch the weights of '{self.name}' ({reason}): "
                f"get {origin if config.hf_hub_id else config.url} and give the file as weights"
            ) from error


@contextmanager
def _quiet_hub() -> Generator[None]:
    """Each attempt to reach the hub is a warning of two lines; that it failed is said once, by `_download`."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
