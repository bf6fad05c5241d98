"""Whether the batches are large enough, and enough of them."""

from collections.abc import Iterator

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.models.freeze import BATCH_NORMS

# Share of the images that an epoch may leave out without a word, and without a warning.
NOTEWORTHY, MUCH = 0.1, 0.25
# Images from which BatchNorm's statistics are noise, by experience.
FEW_FOR_BATCHNORM = 8
FEW_STEPS = 100


@PROBES.register("batches")
def batches(case: Case) -> Iterator[Finding]:
    """BatchNorm on one image is an error; few images for it, few steps, and images left out are warnings."""
    found = [finding for look in (_sizes, _batchnorm, _steps) for finding in look(case)]
    train = case.settings.train
    yield from found
    if not found:
        steps = _steps_of(case)
        yield ok("batches are large enough", f"{steps:,} steps of {train.batch_size} images in {train.epochs} epochs")


def _sizes(case: Case) -> Iterator[Finding]:
    count, size = len(case.data.train), case.settings.train.batch_size
    if count < size:
        yield warning(
            "a batch holds more images than there are: an epoch is one step",
            f"batches of {size}, {count} training images",
            f"train.batch_size={_smaller(count)}",
        )
        return
    left = count % size
    if left > NOTEWORTHY * count:
        kind = warning if left > MUCH * count else note
        better = min(range(size, size // 2, -1), key=lambda other: count % other)
        yield kind(
            "each epoch leaves out the images that do not fill a batch",
            f"{left} of {count} ({left / count:.0%}), others each time",
            f"train.batch_size={better} (then {count % better})",
        )


def _batchnorm(case: Case) -> Iterator[Finding]:
    if case.studying is None:
        return
    modules = case.studying.distiller.modules()
    norms = [module for module in modules if isinstance(module, BATCH_NORMS) and module.training]
    train = case.settings.train
    seen = min(train.batch_size, len(case.data.train)) // train.accumulate
    if not norms or seen >= FEW_FOR_BATCHNORM:
        return
    evidence = f"{seen} {'image' if seen == 1 else 'images'} at once in {len(norms)} layers"
    parts = "train.accumulate=1" if train.accumulate > 1 else "train.batch_size=32"
    fix = f"{parts}, or student.freeze_batchnorm=true for a trained student"
    if seen <= 1:
        yield error("BatchNorm would normalise each image by itself", evidence, fix)
    else:
        yield warning("BatchNorm's statistics are noise in batches this small", evidence, fix)


def _steps(case: Case) -> Iterator[Finding]:
    steps, student = _steps_of(case), case.settings.student
    if steps >= FEW_STEPS:
        return
    trained = student["pretrained"] or student["weights"] or student["init"]
    kind = note if trained else warning
    epochs = case.settings.train.epochs
    enough = -(-FEW_STEPS * 3 * epochs // steps)
    yield kind(
        "the training has few steps",
        f"{steps} steps in {epochs} epochs",
        f"train.epochs={enough}, or a smaller train.batch_size",
    )


def _steps_of(case: Case) -> int:
    train = case.settings.train
    return max(1, len(case.data.train) // train.batch_size) * train.epochs


def _smaller(count: int) -> int:
    """About eight batches an epoch, in powers of two, so large that BatchNorm has something to count."""
    return min(count, max(FEW_FOR_BATCHNORM, 1 << max(count // 8, 1).bit_length() - 1))
