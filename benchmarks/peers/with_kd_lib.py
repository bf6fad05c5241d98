"""KD_Lib: its `VanillaKD`.

Its half for texts, which the package always imports and `VanillaKD` does not use, wants parts that torchtext and
transformers have removed: empty modules stand in for the two. Its own code is as it is.
"""

import sys
import tempfile
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from benchmarks.peers.work import Work
from benchmarks.textbook import LABEL_WEIGHT, TEMPERATURE, make_sgd

PACKAGE = "KD_Lib"
REMOVED = {
    "torchtext": (),
    "torchtext.legacy": ("data",),
    "transformers": ("AdamW", "BertForSequenceClassification", "BertTokenizer"),
}


class Divergence(nn.Module):
    """KL(first || second), mean over the batch; its own default is the squared error of probabilities."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Probabilities (batch, classes) -> scalar."""
        return nn.functional.kl_div(second.log(), first, reduction="batchmean")


def train(work: Work) -> None:
    """One epoch; its validation, which cannot be left out, sees one batch.

    Where that finds no image right, `VanillaKD` takes the student's first weights back.
    """
    for name, attributes in REMOVED.items():
        module = sys.modules.setdefault(name, ModuleType(name))
        for attribute in attributes:
            setattr(module, attribute, None)
    from KD_Lib.KD import VanillaKD

    teacher, student = work.teacher.network, work.student.network
    trainer = VanillaKD(
        teacher,
        student,
        work.loader(),
        work.held_out(),
        make_sgd(teacher),
        make_sgd(student),
        loss_fn=Divergence(),
        temp=TEMPERATURE,
        distil_weight=1 - LABEL_WEIGHT,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer.train_student(epochs=1, plot_losses=False, save_model_pth=str(Path(folder) / "student.pt"))
