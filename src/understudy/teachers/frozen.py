"""A network that only answers."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from understudy.losses.input_gradient import input_gradient
from understudy.taps import IMAGE, IMAGE_GRADIENT, Tapped
from understudy.types import Batch, Outputs


class Teacher(nn.Module):
    """A frozen model as a source of targets: always in eval mode, without gradients.

    It stays in eval mode inside a parent's `.train()`, so its BatchNorm buffers are bit-identical after training.

    Args:
        model: Images as in the batch -> logits (batch, classes). Its parameters are frozen in place.
        taps: Layers whose output methods want to see (see `understudy.taps.Tapped`), and `IMAGE_GRADIENT`.
        precision: Of the forward pass, whatever that of the student: float32, or what autocast computes in.
        chunk: Images that go through the model at once, the last ones filled up with copies; an image's targets then
            do not depend on what else is in the batch, and on a CPU activations stay in its cache. None takes all.

    Raises:
        UserError: There is no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        taps: Sequence[str] = (),
        precision: torch.dtype = torch.float32,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.chunk = chunk
        self.differentiates = IMAGE_GRADIENT in taps
        taps = [IMAGE if tap == IMAGE_GRADIENT else tap for tap in taps]
        self.tapped = Tapped(model.requires_grad_(False), taps)
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: a teacher never trains."""
        return self

    # Not inference_mode: its tensors may not enter the student's graph.
    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        """A batch -> targets, plain tensors without a graph.

        Raises:
            ValueError: `IMAGE_GRADIENT` is tapped and the images have no labels.
        """
        if self.differentiates:
            return self._differentiated(batch)
        size = len(batch.image) if self.chunk is None else self.chunk
        with torch.autocast(batch.image.device.type, self.precision, enabled=self.precision != torch.float32):
            return _joined([self.tapped(part) for part in _chunks(batch.image, size)], len(batch.image))

    def _differentiated(self, batch: Batch) -> Outputs:
        if batch.label is None:
            raise ValueError("the teacher's input gradient needs the label of each image, and the batch has none")
        # In half precision a gradient through the whole network is off by a tenth.
        with torch.enable_grad(), torch.autocast(batch.image.device.type, enabled=False):
            outputs: Outputs = self.tapped(batch.image)
            gradient = input_gradient(outputs.logits, batch.label, outputs.features[IMAGE], create_graph=False)
        features = {tap: feature.detach() for tap, feature in outputs.features.items()}
        return Outputs(outputs.logits.detach(), {**features, IMAGE_GRADIENT: gradient})


def _chunks(image: Tensor, size: int) -> list[Tensor]:
    """Equal parts; the last is filled up with copies of its first image."""
    parts = list(image.split(size))
    if len(parts[-1]) < size:
        last = parts[-1]
        parts[-1] = torch.cat([last, last[:1].expand(size - len(last), *last.shape[1:])])
    return parts


def _joined(parts: list[Outputs], count: int) -> Outputs:
    if len(parts) == 1 and len(parts[0].logits) == count:
        return parts[0]
    features = {tap: torch.cat([part.features[tap] for part in parts])[:count] for tap in parts[0].features}
    return Outputs(torch.cat([part.logits for part in parts])[:count], features)
