"""What came out of a search: `search.json`, `search.csv`, and the best settings as files that commands take."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from understudy.experiments.settings import teacher_names
from understudy.record import write_json, write_text
from understudy.search.settings import Search, SearchArm, settings_of_trial
from understudy.search.space import range_text
from understudy.search.tuner import Trial, Tuner
from understudy.studies.settings import PLAIN
from understudy.yaml_file import yaml_text

Outcome = dict[str, Any]

TUNED = "plain-tuned"
CONFIRM = 5
WARNING = "chosen on the validation split, whose accuracy is therefore flattering"


def save_outcome(search: Search, tuners: Sequence[Tuner]) -> Outcome:
    """Write what came out so far.

    Args:
        search: The search.
        tuners: Those of its arms.

    Returns:
        What `search.json` holds.
    """
    arms = [_arm(tuner.arm, tuner.told()) for tuner in tuners]
    settings = settings_of_trial(search.common, search.arms[0], {})
    outcome: Outcome = {
        "name": search.directory.path.name,
        "data": settings.data["name"],
        "teacher": " + ".join(teacher_names(settings.teacher)) if settings.teacher else None,
        "student": str(settings.student["name"]),
        "metric": "accuracy",
        "split": "val",
        "seeds": list(search.seeds),
        "trials": search.chosen.trials,
        "arms": arms,
    }
    write_json(search.directory.summary, outcome)
    write_text(search.directory.table, _csv(arms))
    best = {arm.name: found["best"]["settings"] for arm, found in zip(search.arms, arms, strict=True) if found["best"]}
    for arm in search.arms:
        if arm.name in best:
            _save_best(search, arm, best[arm.name])
    if len(best) == len(search.arms):
        _save_confirm(search, best)
    return outcome


def settings_text(own: Mapping[str, Any]) -> str:
    """For people: `method.temperature=3.2, label.weight=0.41`."""
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in own.items()
    )


def outcome_table(outcome: Outcome) -> Table:
    """The best of each arm."""
    table = Table(caption_justify="left")
    for column in ("", "validation accuracy", "trials", "failed", "best settings"):
        table.add_column(column, overflow="fold")
    for arm in outcome["arms"]:
        failed = sum(trial["val"] is None for trial in arm["trials"])
        best = arm["best"]
        accuracy = f"{best['val']['accuracy']:.2%}" if best else ""
        found = settings_text(best["settings"]) if best else ""
        table.add_row(arm["name"], accuracy, str(len(arm["trials"])), str(failed), found)
    table.caption = f"{outcome['student']} on {outcome['data']}; {WARNING}"
    return table


def space_table(search: Search) -> Table:
    """What would be tried."""
    table = Table("arm", "setting", "values", "trials", "runs")
    for arm in search.arms:
        for key, values in arm.space.items():
            trials = search.chosen.trials
            table.add_row(arm.name, key, range_text(values), str(trials), str(trials * len(search.seeds)))
    return table


def _arm(arm: SearchArm, told: Sequence[Trial]) -> Outcome:
    trials: list[Outcome] = [
        {"number": trial.number, "settings": dict(trial.own), "val": trial.val()} for trial in told
    ]
    done = [trial for trial in trials if trial["val"] is not None]
    # Of equal accuracies, which are frequent where the split is small, the more probable labels decide.
    best = max(done, key=lambda trial: (trial["val"]["accuracy"], -trial["val"]["nll"]), default=None)
    return {"name": arm.name, "space": arm.space, "trials": trials, "best": best}


def _save_best(search: Search, arm: SearchArm, own: Mapping[str, Any]) -> None:
    tree = settings_of_trial(search.common, arm, own).tree()
    head = f"# The best of {arm.name} in {search.directory.path}, {WARNING}.\n# understudy {arm.command} takes it.\n"
    text = yaml_text({key: value for key, value in tree.items() if key not in ("seed", "out")})
    write_text(search.directory.best(arm.name), head + text)


def _save_confirm(search: Search, best: Mapping[str, Mapping[str, Any]]) -> None:
    """A study of the best settings with seeds that the search has not seen."""
    arms: dict[str, dict[str, Any]] = {name: dict(own) for name, own in best.items() if name != PLAIN}
    if PLAIN in best:
        arms = {TUNED: {"method": [], **best[PLAIN]}, **arms}
    tree = {
        **search.common,
        "seeds": CONFIRM,
        "seed": max(search.seeds) + 1,
        "arms": arms,
        "baseline": TUNED if PLAIN in best else PLAIN,
        "out": str(search.directory.path / "confirm"),
    }
    path = search.directory.confirm
    head = f"# What {search.directory.path} found, with fresh seeds, on the test split: understudy study -c {path}\n"
    write_text(path, head + yaml_text(tree))


def _csv(arms: Sequence[Outcome]) -> str:
    text = io.StringIO()
    keys = list(dict.fromkeys(key for arm in arms for key in arm["space"]))
    names = next((list(trial["val"]) for arm in arms for trial in arm["trials"] if trial["val"]), [])
    writer = csv.writer(text)
    writer.writerow(["arm", "trial", *keys, *(f"val_{name}" for name in names)])
    for arm in arms:
        for trial in arm["trials"]:
            scores = [(trial["val"] or {}).get(name) for name in names]
            writer.writerow([arm["name"], trial["number"], *(trial["settings"].get(key) for key in keys), *scores])
    return text.getvalue()
