"""Running sums on the device; nothing is read back until somebody asks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from understudy.cohort import CohortStep
from understudy.distiller import Step
from understudy.engine.distributed import sum_over_processes
from understudy.types import Batch, Outputs


class Meter:
    """Means over images of the loss, of each term and of the training accuracy.

    Args:
        device: Where the sums live.
    """

    def __init__(self, device: torch.device) -> None:
        # MPS has no float64.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new epoch."""
        self._names: tuple[str, ...] = ()
        self._sums = torch.zeros(0, dtype=self._dtype, device=self._device)
        self._mark = self._sums

    def add(self, step: Step | CohortStep, batch: Batch) -> None:
        """Add one batch; no host synchronisation."""
        values = {"loss": step.loss.detach()}
        for name, term in step.terms.items():
            values[f"{name}.raw"] = term.raw.detach()
            values[f"{name}.weighted"] = term.weighted.detach()
        if batch.label is not None:
            for name, outputs in _numbered(step):
                logits = outputs.logits.detach()[: len(batch.label)]
                values[name] = (logits.argmax(1) == batch.label).float().mean()
        values["images"] = torch.ones_like(values["loss"])
        row = torch.stack(list(values.values())).to(self._dtype) * len(batch.image)
        if not self._names:
            self._names = tuple(values)
            self._sums = self._mark = torch.zeros_like(row)
        assert self._names == tuple(values), "the terms of the loss changed within an epoch"
        self._sums = self._sums + row

    def since_mark(self) -> dict[str, float]:
        """Means since the last call, over all processes; waits for the device."""
        sums, self._mark = self._sums - self._mark, self._sums
        return self._means(sums)

    def epoch(self) -> dict[str, float]:
        """Means since `reset`, over all processes; waits for the device."""
        return self._means(self._sums)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"names": list(self._names), "sums": self._sums.cpu(), "mark": self._mark.cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._names = tuple(state["names"])
        self._sums = state["sums"].to(self._device)
        self._mark = state["mark"].to(self._device)

    def _means(self, sums: Tensor) -> dict[str, float]:
        totals = dict(zip(self._names, sum_over_processes(sums).tolist(), strict=True))
        images = totals.pop("images", 0.0)
        return {name: total / images for name, total in totals.items()} if images else {}


def _numbered(step: Step | CohortStep) -> list[tuple[str, Outputs]]:
    """What each student said, with the name of its accuracy."""
    if isinstance(step, CohortStep):
        return [(f"{number}.accuracy", outputs) for number, outputs in enumerate(step.outputs)]
    return [("accuracy", step.outputs)]
