"""timm: its task for distilling logits, its loader that normalises whole batches, its optimizer."""

import torch
from timm.data import create_loader
from timm.data.transforms import MaybePILToTensor
from timm.optim import create_optimizer_v2
from timm.task import LogitDistillationTask
from timm.utils import AverageMeter
from torchvision.transforms import Compose

from benchmarks.peers.work import Work
from benchmarks.textbook import LABEL_WEIGHT, LR, MOMENTUM, TEMPERATURE, WEIGHT_DECAY, crop_and_flip
from understudy.classifier import Classifier

PACKAGE = "timm"
LOG_STEPS = 50


def train(work: Work) -> None:
    """One epoch without its validation."""
    cpu = torch.device("cpu")
    spec = work.student.spec
    loader = create_loader(
        work.images(),
        (3, 32, 32),
        work.batch,
        is_training=True,
        mean=spec.mean,
        std=spec.std,
        num_workers=work.workers,
        device=cpu,
    )
    # Its own crops are those of ImageNet; the loader normalises.
    loader.dataset.transform = Compose([*crop_and_flip(work.augment), MaybePILToTensor()])
    task = LogitDistillationTask(
        student_model=_described(work.student),
        teacher_model=_described(work.teacher),
        criterion=torch.nn.CrossEntropyLoss(),
        task_loss_weight=LABEL_WEIGHT,
        temperature=TEMPERATURE,
        device=cpu,
    )
    student = task.get_trainable_module()
    optimizer = create_optimizer_v2(
        student, "momentum", lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, filter_bias_and_bn=False
    )
    task.train()
    losses = AverageMeter()
    for step, (image, label) in enumerate(loader):
        loss = task(image, label)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % LOG_STEPS == 0:
            losses.update(loss.item(), len(image))


def _described(model: Classifier) -> torch.nn.Module:
    """The network with the attributes that timm's models have."""
    network = model.network
    network.num_classes, network.in_chans = len(model.classes), 3
    network.pretrained_cfg = {"mean": model.spec.mean, "std": model.spec.std}
    return network
