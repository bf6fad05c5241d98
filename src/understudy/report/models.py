"""Teacher, plain and distilled students side by side: how good they are and what they cost."""

from collections.abc import Callable

from understudy.report.blocks import Block, Data, Section, Table
from understudy.report.numbers import (
    NO_NUMBER,
    count,
    decimal,
    interval,
    latency,
    milliseconds,
    percent,
    size,
    weight_bytes,
)
from understudy.report.subject import Estimate, Member, Subject

COLUMNS = [
    *("name", "network", "runs"),
    *(f"{split}_{key}" for split in ("test", "val") for key in ("accuracy", "low", "high", "std")),
    *("parameters", "macs", "bytes", "latency_ms"),
]
# What a student has in common with its teacher: key of the record, heading, and how it is written.
FIDELITY: list[tuple[str, str, Callable[[float | None], str]]] = [
    ("agreement", "agreement", percent),
    ("kl", "KL to the teacher (nats)", decimal),
    ("gap", "logit gap", decimal),
    ("gap_centred", "logit gap, centred", decimal),
    ("shared_errors", "teacher's errors repeated", percent),
    ("shared_errors_expected", "expected by chance", percent),
]


def models_section(subject: Subject) -> Section:
    """The table of the models, and how faithful the students are."""
    blocks: list[Block] = [_models(subject)]
    if (table := _fidelity(subject)) is not None:
        blocks.append(table)
    return Section("models", "The models", blocks)


def _models(subject: Subject) -> Table:
    header = ["", "network", "test accuracy", "95 % interval", "validation accuracy"]
    header += ["parameters", "MACs", "size", "latency"]
    return Table(
        f"Accuracy and cost on {subject.data}: {subject.images['test']:,} test and {subject.images['val']:,} "
        "validation images",
        header,
        [_texts(member) for member in subject.members],
        data=Data("models", COLUMNS, [_numbers(member) for member in subject.members]),
        series=[member.number for member in subject.members],
        note=_basis(subject),
    )


def _texts(member: Member) -> list[str]:
    test, cost = member.accuracy["test"], member.cost
    return [
        member.name,
        member.network,
        percent(test.mean),
        interval(test.low, test.high) or NO_NUMBER,
        percent(member.accuracy["val"].mean),
        count(cost.get("parameters")),
        count(cost.get("macs")),
        size(weight_bytes(cost)),
        milliseconds(latency(cost)),
    ]


def _numbers(member: Member) -> list[str | float | int | None]:
    cost = member.cost
    accuracies = [number for split in ("test", "val") for number in _four(member.accuracy[split])]
    costs = [cost.get("parameters"), cost.get("macs"), weight_bytes(cost), latency(cost)]
    return [member.name, member.network, member.num_runs, *accuracies, *costs]


def _four(estimate: Estimate) -> list[float | None]:
    return [getattr(estimate, name) for name in ("mean", "low", "high", "std")]


def _basis(subject: Subject) -> str:
    over, latencies = "over test images", "median of one image on the machine of the run"
    if subject.study is not None:
        latencies = "of one image, the least of the medians of all runs with this network, since other work adds to it"
        over = "Student's t over the runs of an arm; of the teacher, which is one run, over test images"
    return (
        f"Intervals: {over}. MACs: multiply-adds of one image. Size: the weights. Latency: {latencies}. "
        "The epoch was selected on validation images; test images chose nothing."
    )


def _fidelity(subject: Subject) -> Table | None:
    keys = [row for row in FIDELITY if any(m.mean("fidelity", row[0]) is not None for m in subject.members)]
    members = [m for m in subject.members if any(m.mean("fidelity", key) is not None for key, _, _ in keys)]
    if not members:
        return None
    values = [[member.mean("fidelity", key) for key, _, _ in keys] for member in members]
    texts = [[write(value) for value, (_, _, write) in zip(row, keys, strict=True)] for row in values]
    return Table(
        "Fidelity to the teacher on test images",
        ["", *(heading for _, heading, _ in keys)],
        [[member.name, *row] for member, row in zip(members, texts, strict=True)],
        data=Data(
            "fidelity",
            ["name", *(key for key, _, _ in keys)],
            [[member.name, *row] for member, row in zip(members, values, strict=True)],
        ),
        series=[member.number for member in members],
        note="Agreement: share of images with the same answer, right or wrong. The centred logit gap leaves out what "
        "is added to all logits of an image, which changes no probability. Fidelity is not accuracy.",
    )
