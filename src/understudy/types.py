"""What travels through a training step."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch of images, on the device.

    `index` and `view` make a sample's augmentation replayable: with the seed they determine every pixel.

    Attributes:
        image: Pixels (batch, channels, height, width), uint8 in 0..255 or float in 0..1, never normalised: each
            model normalises for itself (see `understudy.classifier.Classifier`).
        label: Class ids (labelled,), int64: of all images, or of the first ones where unlabelled images follow; None
            where no image has a label. How many there are is a shape: nobody waits for the device to know.
        index: Position of each image in its split (batch,), int64.
        view: Which augmentation of the image this is (batch,), int64; -1 is the image without augmentation.
        host: View and index (2, batch) on the host, for who looks something up and must not wait for the device; None
            where the maker of the batch did not know them there.
    """

    image: Tensor
    label: Tensor | None
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # the field's word; nobody searches a batch
    view: Tensor
    host: Tensor | None = None

    def rows(self, rows: Tensor) -> "Batch":
        """A part of the batch, its unlabelled images last as in the whole.

        Args:
            rows: Places in the batch (part,), int64, on the host; those of unlabelled images behind the others.
        """
        there = rows.to(self.image.device)
        label = None if self.label is None else self.label[there[: int((rows < len(self.label)).sum())]]
        host = None if self.host is None else self.host[:, rows]
        return Batch(self.image[there], label, self.index[there], self.view[there], host)


class Outputs(NamedTuple):
    """What a network said about a batch.

    Attributes:
        logits: (batch, classes).
        features: Tapped activations by layer name.
        exits: Logits (batch, classes) of early exits in order of depth, without the last one.
    """

    logits: Tensor
    features: dict[str, Tensor]
    exits: tuple[Tensor, ...] = ()


class Term(NamedTuple):
    """One term of the loss.

    Attributes:
        raw: The term as its paper defines it, a scalar, with its graph.
        weighted: What is added to the total loss, a scalar.
    """

    raw: Tensor
    weighted: Tensor


Terms = dict[str, Tensor]
"""Named loss terms of one method, each a scalar, before weighting."""
