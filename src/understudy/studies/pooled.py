"""The table of anvelezec/distillation: validation values of all epochs of all runs, pooled."""

import csv
import io
from typing import Any

from understudy.evaluation.statistics import Pooled, pooled
from understudy.record import write_json, write_text
from understudy.report.epochs import epoch_values
from understudy.studies.summary import Summary
from understudy.study_record import StudyDirectory

# By what the runs call it: what it is called there, and for people.
QUANTITIES = {
    "loss": ("epoch_loss_l", "loss"),
    "accuracy": ("epoch_acc_l", "accuracy"),
    "teacher_accuracy": ("epoch_acc_teacher_l", "teacher's accuracy"),
    "gap": ("diff_t_s", "logit gap"),
    "gap_centred": ("diff_t_s_centred", "logit gap, centred"),
}
NOTE = (
    "± mixes the seeds with how the values change over the epochs, so that it is no error of the mean; these are the "
    "images that select the epoch. For what the runs are worth read the table of the test split."
)

PooledRows = dict[str, dict[str, Pooled]]
"""By arm and quantity."""


def pool(directory: StudyDirectory, summary: Summary) -> PooledRows:
    """Pool the values of each arm that has finished runs.

    Args:
        directory: Of the study.
        summary: What its `study.json` holds.
    """
    curves = {arm["name"]: epoch_values(directory, arm) for arm in summary["arms"] if arm["runs"]}
    return {arm: {name: pooled(found[name]) for name in QUANTITIES if name in found} for arm, found in curves.items()}


def save_pooled(directory: StudyDirectory, rows: PooledRows) -> None:
    """Write `pooled.json` and `pooled.csv` into the study's directory."""
    plain: dict[str, Any] = {
        arm: {QUANTITIES[name][0]: found._asdict() for name, found in row.items()} for arm, row in rows.items()
    }
    write_json(directory.path / "pooled.json", {"note": NOTE, "arms": plain})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["arm", "quantity", "mean", "std", "n"])
    for arm, row in plain.items():
        for name, found in row.items():
            writer.writerow([arm, name, found["mean"], found["std"], found["n"]])
    write_text(directory.path / "pooled.csv", text.getvalue())
