"""torchdistill: its distillation box, set up as its sample configurations for KD on CIFAR-10 do, and its meters."""

from torch import device
from torch.utils.data import RandomSampler, SequentialSampler
from torchdistill.core.distillation import get_distillation_box
from torchdistill.misc.log import MetricLogger

from benchmarks.peers.work import Work
from benchmarks.textbook import LABEL_WEIGHT, LR, MOMENTUM, TEMPERATURE, WEIGHT_DECAY

PACKAGE = "torchdistill"
LOG_STEPS = 100


def train(work: Work) -> None:
    """One epoch without its validation."""
    cpu = device("cpu")
    teacher, student = work.teacher.network, work.student.network
    images = {"train": work.images(), "val": work.images()}
    box = get_distillation_box(teacher, student, images, configuration(work), cpu, None, False, 1)
    teacher.eval()
    box.pre_epoch_process(epoch=0)
    meters = MetricLogger(delimiter="  ")
    for image, label, extra in meters.log_every(box.train_data_loader, LOG_STEPS, "epoch 0"):
        loss = box.forward_process(image.to(cpu), label.to(cpu), extra)
        box.post_forward_process(loss=loss)
        meters.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
    box.post_epoch_process()
    box.clean_modules()


def configuration(work: Work) -> dict[str, object]:
    """The `train` section of a configuration file."""
    logits = {"student_module_path": ".", "student_module_io": "output"}
    logits |= {"teacher_module_path": ".", "teacher_module_io": "output"}
    loss = {"temperature": TEMPERATURE, "alpha": LABEL_WEIGHT, "reduction": "batchmean"}
    loading = {"batch_size": work.batch, "num_workers": work.workers}
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {**loading, "drop_last": True},
        },
        "val_data_loader": {"dataset_id": "val", "sampler": {"class_or_func": SequentialSampler}, "kwargs": loading},
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": LR, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": {**logits, **loss}}, "weight": 1.0}}
            },
        },
    }
