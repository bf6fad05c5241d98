"""How much memory a forward pass takes."""

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from understudy.evaluation.cost import count_bytes
from understudy.taps import evaluating


def peak_memory(model: nn.Module, image: Tensor) -> int:
    """Bytes that answering one image takes: the weights, the image, and the most that lies beside them at once.

    What torch's allocator hands out is counted, on a CPU as its profiler records it: activations and the work space of
    the kernels, not the libraries themselves nor what the allocator keeps in reserve.

    Args:
        model: Images -> logits; its mode is left as it was.
        image: One image as the model takes it (1, channels, height, width), on the model's device.
    """
    beside = _peak_on_gpu if image.device.type == "cuda" else _peak_on_cpu
    with evaluating(model), torch.no_grad():
        # The first pass may choose and prepare kernels.
        model(image)
        return count_bytes(model) + image.numel() * image.element_size() + beside(model, image)


def _peak_on_gpu(model: nn.Module, image: Tensor) -> int:
    torch.cuda.synchronize(image.device)
    torch.cuda.reset_peak_memory_stats(image.device)
    before = torch.cuda.memory_allocated(image.device)
    model(image)
    torch.cuda.synchronize(image.device)
    return torch.cuda.max_memory_allocated(image.device) - before


def _peak_on_cpu(model: nn.Module, image: Tensor) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        model(image)
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        taken += event.nbytes()
        most = max(most, taken)
    return most
