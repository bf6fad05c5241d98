"""What was done and whether it helped, in one sentence."""

from typing import Literal, NamedTuple

from understudy.evaluation.per_image import hits
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.statistics import paired_difference
from understudy.record import RunDirectory
from understudy.report.numbers import SPACE, interval, p_phrase, p_text, percent, points
from understudy.report.run_subject import did_not_train
from understudy.report.study_subject import comparison_of
from understudy.report.subject import Member, Subject

# Larger p-values show nothing.
LEVEL = 0.05

Outcome = Literal["helped", "hurt", "not shown", "no baseline", "did not train"]


class Verdict(NamedTuple):
    """The outcome.

    Attributes:
        outcome: In two words.
        sentence: What was done and whether it helped, with the interval.
        remarks: What else a reader should know to judge it.
    """

    outcome: Outcome
    sentence: str
    remarks: list[str]


class Difference(NamedTuple):
    """Main minus baseline on the test split.

    Attributes:
        mean: Of the accuracy.
        low: Lower end of the 95 % interval; None if it is not known.
        high: Upper end.
        basis: What the interval is over.
        adjusted: The p-value that allows for main being the best of several arms; None where there is one.
    """

    mean: float
    low: float | None
    high: float | None
    basis: str
    adjusted: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Whether 0 lies outside of the interval, and on which side, also where several arms are allowed for."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "not shown"
        if self.adjusted is not None and self.adjusted >= LEVEL:
            return "not shown"
        return "helped" if self.mean > 0 else "hurt"

    @property
    def text(self) -> str:
        """The number with its interval."""
        if self.low is None:
            return f"{points(self.mean)} points ({self.basis})"
        ends = interval(self.low, self.high, signed=True)
        return f"{points(self.mean)} points (95{SPACE}% interval {ends}, {self.basis})"


def judge(subject: Subject) -> Verdict:
    """Whether it helped, as far as the records can tell."""
    if lazy := [line for member in _compared(subject) if (line := _did_not_train(member))]:
        sentence = f"The student did not train: {' and '.join(lazy)} no better than guessing on {_where(subject)}."
        return Verdict("did not train", sentence, _remarks(subject))
    difference = difference_of(subject)
    if difference is None:
        return Verdict("no baseline", _without_baseline(subject), _how_to_know(subject))
    assert subject.baseline is not None
    word = {"helped": " helped", "hurt": " hurt"}.get(difference.outcome, " is not shown to help")
    before, after = (percent(member.accuracy["test"].mean) for member in (subject.baseline, subject.main))
    sentence = (
        f"{subject.main.name}{word}: {subject.main.network} is right about {after} of {_where(subject)}, "
        f"{subject.baseline.name} about {before}; the difference is {difference.text}."
    )
    return Verdict(difference.outcome, sentence, _remarks(subject))


def difference_of(subject: Subject) -> Difference | None:
    """Main minus baseline on the test split; None without a baseline."""
    if subject.baseline is None:
        return None
    if subject.study is None:
        return _over_images(subject.main.runs[0], subject.baseline.runs[0])
    row = comparison_of(subject.study, subject.main)
    if row is None:
        mean = subject.main.accuracy["test"].mean - subject.baseline.accuracy["test"].mean
        return Difference(mean, None, None, "too few pairs of runs for an interval")
    basis, pairs = p_phrase(row["p_t"]), f"{row['n']} pairs of runs"
    num = sum(each["metric"] == row["metric"] for each in subject.study["comparisons"])
    if num == 1 or row["p_holm"] is None:
        return Difference(row["mean"], row["low"], row["high"], f"{basis}, {pairs}")
    basis += f", {p_text(row['p_holm'])} allowing for {num} arms"
    return Difference(row["mean"], row["low"], row["high"], f"{basis}, {pairs}", row["p_holm"])


def _over_images(run: RunDirectory, baseline: RunDirectory) -> Difference:
    mine, theirs = (hits(Predictions.load(each.logits("test"))).double().tolist() for each in (run, baseline))
    found = paired_difference(mine, theirs)
    basis = f"{p_phrase(found.p_value)}, one pair of runs, over {found.num_pairs:,} test images"
    return Difference(found.mean, found.low, found.high, basis)


def _compared(subject: Subject) -> list[Member]:
    return [member for member in (subject.baseline, subject.main) if member is not None]


def _did_not_train(member: Member) -> str:
    lazy = sum(did_not_train(run) for run in member.runs)
    if not lazy:
        return ""
    whose = member.name if member.num_runs == 1 else f"{lazy} of {member.num_runs} runs of {member.name}"
    return f"{whose} {'is' if lazy == 1 else 'are'}"


def _where(subject: Subject) -> str:
    return f"the {subject.images['test']:,} test images of {subject.data}"


def _without_baseline(subject: Subject) -> str:
    main, accuracy = subject.main, subject.main.accuracy["test"]
    reached = f"{percent(accuracy.mean)} {interval(accuracy.low, accuracy.high)}".strip()
    right = f"is right about {reached} of {_where(subject)}"
    if subject.teacher is None:
        alone = f"{main.network} was trained without a teacher ({main.name})"
        return f"{alone} and {right}; there is nothing to compare it with."
    taught = f"{main.network} learnt from {subject.teacher.network} by {main.name} and {right}"
    return f"Whether it helped is not known: {taught}, but there is no plain baseline to compare with."


def _how_to_know(subject: Subject) -> list[str]:
    if subject.teacher is None or subject.study is not None:
        return []
    path = subject.path
    train = f"understudy train -c {path}/config.yaml out={path}-plain"
    return [f"To find out: {train}, then: understudy report {path} baseline={path}-plain"]


def _remarks(subject: Subject) -> list[str]:
    if subject.study is None:
        return ["One pair of runs: the interval covers which images were tested, not the luck of the seed."]
    arms = [member for member in subject.members if member.role == "student"]
    if len(arms) > 1:
        return [
            f"{subject.main.name} is the best of {len(arms)} arms on validation images; the difference is measured on "
            "test images. Each interval holds for itself: of 20 arms that do nothing, one leaves out 0. So the p-value "
            "that allows for all arms (Holm) must be below 0.05 as well."
        ]
    return []


def savings(subject: Subject) -> str:
    """How much smaller than its teacher the student is, or larger, and what it keeps; empty without a teacher."""
    teacher, main = subject.teacher, subject.main
    if teacher is None or not main.cost.get("parameters") or not main.cost.get("macs"):
        return ""
    fewer, less = (_times(teacher.cost[key] / main.cost[key]) for key in ("parameters", "macs"))
    kept = main.accuracy["test"].mean / teacher.accuracy["test"].mean
    return (
        f"Against its teacher {teacher.network} it has {fewer} parameters and {less} multiply-adds, "
        f"and keeps {percent(kept, 1)} of the test accuracy."
    )


def _times(ratio: float) -> str:
    """How many times fewer, or more."""
    if ratio == 1:
        return "as many"
    return f"{ratio:.3g} times fewer" if ratio > 1 else f"{1 / ratio:.3g} times more"
