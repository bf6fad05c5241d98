"""A network with early exits as ONNX files: one for each stage and each head, and one with all of them."""

import shutil
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from understudy.branches import Branches
from understudy.errors import UserError
from understudy.exits.export_nested import nest
from understudy.exits.export_parity import Parity, check_parity
from understudy.exits.policy import Policy
from understudy.exits.scores import doubt
from understudy.exits.staged import Staged
from understudy.record import write_json
from understudy.taps import evaluating, size_seen

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
RUNTIME = "early_exits.py"
RECORD = "exits.json"
NESTED = "nested.onnx"


class Exported(NamedTuple):
    """What was written.

    Attributes:
        files: All of them.
        parity: How near the answers are to those of the network.
    """

    files: tuple[Path, ...]
    parity: Parity


def export_exits(staged: Staged, images: Tensor, policy: Policy, folder: Path) -> Exported:
    """Write a network that skips what an image does not need, for ONNX Runtime without torch.

    `stage-1.onnx` takes pixels (images, channels, height, width), uint8 in 0..255, at the size of `images`, and
    normalises them. Each stage passes its feature on; `head-1.onnx` and so on give logits and doubt. `early_exits.py`
    runs them by `exits.json`, any number of images at a time. `nested.onnx` is all of it for one image, with the
    thresholds as an input (see `understudy.exits.export_nested.nest`).

    Args:
        staged: On the CPU.
        images: Some to trace with and to compare, uint8, two or more.
        policy: When an image may leave; its score and its temperatures become part of the heads.
        folder: Made if it is not there; nothing is written to it unless the comparison holds.

    Raises:
        UserError: A package is missing, a part cannot be exported, or what was written gives other answers.
    """
    _check_packages()
    _make(folder)
    with evaluating(staged.model), torch.no_grad():
        stages, heads = _models(staged, images[:2], policy)
    # What fails the comparison must not lie where somebody may take it.
    with TemporaryDirectory() as scratch:
        names = _write(Path(scratch), staged, stages, heads, policy, images)
        parity = check_parity(staged, images, policy, Path(scratch), nested=Path(scratch, NESTED))
        for name in names:
            shutil.copyfile(Path(scratch, name), folder / name)
    return Exported(tuple(folder / name for name in names), parity)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create '{folder}': {error.strerror}; choose another out=DIR") from error


def _write(
    folder: Path, staged: Staged, stages: Sequence[Any], heads: Sequence[Any], policy: Policy, images: Tensor
) -> list[str]:
    """All files; their names."""
    stage_names, head_names = (
        [f"{kind}-{number}.onnx" for number in range(1, len(models) + 1)]
        for kind, models in (("stage", stages), ("head", heads))
    )
    models = [*stages, *heads, nest(stages, heads)]
    names = [*stage_names, *head_names, NESTED]
    for name, model in zip(names, models, strict=True):
        (folder / name).write_bytes(model.SerializeToString())
    record = {
        "classes": staged.model.classes,
        "shape": list(images.shape[1:]),
        "stages": stage_names,
        "heads": head_names,
        "stage_macs": staged.stage_macs,
        "head_macs": staged.head_macs,
        **policy.to_record(),
    }
    write_json(folder / RECORD, record)
    shutil.copyfile(Path(__file__).with_name("export_runtime.py"), folder / RUNTIME)
    return [*names, RECORD, RUNTIME]


class _Head(nn.Module):
    """One exit with its doubt, so that what decides is the same everywhere."""

    def __init__(self, branches: Branches, number: int, size: tuple[int, int], policy: Policy) -> None:
        super().__init__()
        self.branches = branches
        self.number = number
        self.size = size
        self.score = policy.score
        self.temperature = policy.temperatures[number]

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.branches.answer(self.number, feature, self.size)
        return logits, doubt(logits, self.score, temperature=self.temperature)


def _models(staged: Staged, images: Tensor, policy: Policy) -> tuple[list[Any], list[Any]]:
    """`onnx.ModelProto` of each stage and of each head."""
    size = size_seen(staged.model, images)
    stages: list[Any] = []
    heads: list[Any] = []
    feature = images
    for number, stage in enumerate(staged.stages):
        part = stage if number else nn.Sequential(staged.model.preprocess, stage)
        last = number == len(staged.branches.heads)
        outputs = ["logits" if last else "passed_on"]
        stages.append(_exported(part, feature, f"stage {number + 1}", "feature" if number else "image", outputs))
        feature = part(feature)
        if not last:
            head = _Head(staged.branches, number, size, policy)
            heads.append(_exported(head, feature, f"head {number + 1}", "feature", ["logits", "doubt"]))
    return stages, heads


def _exported(part: nn.Module, value: Tensor, what: str, given: str, outputs: Sequence[str]) -> Any:
    try:
        # What torch says about its own future concerns nobody here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                part.eval(),
                (value,),
                input_names=[given],
                output_names=outputs,
                dynamic_shapes=({0: torch.export.Dim("images")},),
                dynamo=True,
                verbose=False,
            )
    # Whatever torch raises on a layer that it does not know.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{what} cannot be exported to ONNX ({reason}): choose another student or other exits"
        ) from error
    assert program is not None
    return program.model_proto


def _check_packages() -> None:
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise UserError(f"exporting needs the package {name}: pip install 'understudy[onnx]'") from error
