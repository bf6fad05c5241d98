"""Early exits as tables for a terminal."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from understudy.exits.cascade import Cascade
from understudy.exits.ood import OodRow
from understudy.exits.staged import ExitSize
from understudy.experiments.exit_calibration import Calibration
from understudy.experiments.exit_comparison import Difference, ExitComparison
from understudy.experiments.exit_evaluation import ExitEvaluation
from understudy.experiments.tables import count_text


def calibration_table(found: Calibration) -> Table:
    """The policy on validation images that had no part in finding it."""
    table = _cascade_table(found.held_out, found.drop_bound)
    judged = found.held_out.total.images
    source = f"found on {found.found} validation images, judged on {judged} others" if found.found else "as given"
    table.title = f"{found.found_by[0]}={found.found_by[1]}, {found.policy.score}: {source}"
    return table


def calibration_notes(found: Calibration) -> list[str]:
    """What a user should know besides the table."""
    if not found.policy.closed:
        return []
    by, value = found.found_by
    reason = f"{by}={value} leaves no exit open"
    if by == "max_drop" and value < found.smallest_bound:
        reason = (
            f"{found.held_out.total.images} validation images can show a drop below {found.smallest_bound:.2%} "
            f"at best, so that max_drop={value} leaves no exit open"
        )
    return [f"warning: {reason}: allow a larger max_drop, or set budget=0.6 and mind the bound"]


def exits_table(found: ExitEvaluation) -> Table:
    """The policy on the test split."""
    table = _cascade_table(found.test, found.drop_bound, found.sizes)
    table.title = f"test split, {found.policy.score}"
    return table


def ood_table(rows: Sequence[OodRow]) -> Table:
    """Who leaves where, with images of other data."""
    table = _table("exit", "images", "leave", "right", "other images", "leave", "of those that come", "known share")
    for row in rows:
        counts = (row.inputs, row.accepted, row.accepted_correct, row.ood_inputs, row.ood_accepted)
        table.add_row(row.exit, *map(str, counts), _percent(row.ood_rate), _percent(row.known_share))
    table.caption = "other images are none of the classes: each that leaves early is a mistake that the exit is sure of"
    return table


def runtime_line(found: ExitEvaluation) -> str:
    """Whether skipping gives what the table says."""
    check = found.runtime
    line = (
        f"really skipping: {check.same_exit} of {check.images} images take the exit of the table, logits differ by at "
        f"most {check.difference:.1e}, accuracy {check.accuracy:.2%}, {count_text(check.macs)} MACs an image"
    )
    return line if check.same_exit == check.images else f"warning: {line}"


def comparison_tables(found: ExitComparison) -> list[Table]:
    """Mean accuracy of each exit in each way of training, and which differences are more than chance."""
    exits = sorted({row.exit for row in found.rows})
    means = _table("model", "way", *exits)
    means.title = "test accuracy (%), mean and standard deviation"
    for model, way in dict.fromkeys((row.model, row.way) for row in found.rows):
        columns = [found.accuracies(model, way, exit_) for exit_ in exits]
        cells = [f"{100 * statistics.mean(v):.2f} ± {100 * statistics.stdev(v):.2f}" if v else "" for v in columns]
        means.add_row(model, way, *cells)
    differences = _table("model", "exit", "difference", "mean", "std", "95 % interval", "p")
    differences.title = "difference in points, paired by seed"
    for each in found.differences:
        between, numbers = f"{each.treated} - {each.baseline}", (f"{100 * each.mean:+.2f}", f"{100 * each.std:.2f}")
        differences.add_row(each.model, each.exit, between, *numbers, _interval(each), _p_text(each))
    seeds, count = found.differences[0].seeds, len(found.differences)
    differences.caption = f"{seeds} seeds; intervals and p are not corrected for {count} comparisons"
    return [means, differences]


def _interval(found: Difference) -> str:
    return "" if found.low is None or found.high is None else f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def _p_text(found: Difference) -> str:
    return "" if found.p_value is None else f"{found.p_value:.2g}"


def _cascade_table(found: Cascade, bound: float, sizes: Sequence[ExitSize] = ()) -> Table:
    columns = ("exit", "below", "right", "inputs", "leave", "share", "right", "go on", "MACs")
    table = _table(*columns, *(["parameters"] if sizes else []))
    for number, row in enumerate(found.rows):
        table.add_row(
            row.exit,
            "" if row.exit == "main" else f"{row.threshold:.3g}",
            f"{row.exit_accuracy:.2%}",
            f"{row.inputs:,}",
            f"{row.accepted:,}",
            f"{row.share:.1%}",
            _percent(row.accepted_accuracy),
            f"{row.rejected:,}",
            count_text(row.macs),
            *([count_text(sizes[number].parameters)] if sizes else []),
        )
    total = found.total
    table.caption = (
        "right: of all images, and of those that leave\n"
        f"accuracy {total.accuracy:.2%}, of the main exit {total.main_accuracy:.2%}: a drop of {100 * total.drop:.2f} "
        f"points, with 95 % confidence at most {100 * bound:.2f}; {count_text(total.macs)} MACs an image, "
        f"{total.saving:.1%} less than the {count_text(total.main_macs)} of the network without exits"
    )
    return table


def _percent(share: float) -> str:
    """Nothing where nobody was."""
    return "" if share != share else f"{share:.2%}"


def _table(*columns: str) -> Table:
    table = Table(caption_justify="left", title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
