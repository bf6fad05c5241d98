"""Do the trials of a search that are missing."""

from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec

from understudy.errors import UserError
from understudy.search.outcome import Outcome, save_outcome, settings_text
from understudy.search.settings import Search
from understudy.search.tuner import Trial, Tuner
from understudy.studies.parts import make_executor
from understudy.studies.planned import Say
from understudy.studies.study import check_teachers, stoppable

# What may be changed when a search goes on.
MAY_CHANGE = ("trials", "executor", "out")


def run_search(search: Search, *, say: Say = print) -> Outcome:
    """Do all trials that are not done; the same call goes on where an earlier one stopped, and trials may be added.

    Settings are compared on the validation split alone.

    Args:
        search: See `understudy.search.settings.resolve_search`.
        say: Takes each line that the user should read.

    Returns:
        What `search.json` holds.

    Raises:
        UserError: The directory holds something else or a search of other settings, there is no such teacher, or
            Optuna is not installed.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    if find_spec("optuna") is None:
        raise UserError("understudy search needs a package that is not installed: pip install 'understudy[search]'")
    search.directory.check()
    _check_same(search)
    check_teachers([planned for arm in search.arms for planned in search.runs(arm, 0, {})])
    with search.directory.locked():
        search.directory.write_config(search.tree())
        tuners = [Tuner(search, arm) for arm in search.arms]
        with stoppable(say):
            while asked := [(tuner, trial) for tuner in tuners for trial in tuner.ask()]:
                _do(search, [trial for _, trial in asked], say)
                for tuner, trial in asked:
                    tuner.tell(trial)
                    say(_line(search, trial))
                save_outcome(search, tuners)
        return save_outcome(search, tuners)


def _check_same(search: Search) -> None:
    if not search.directory.exists():
        return
    old, new = search.directory.read_config(), search.tree()
    changed = [key for key in {**old, **new} if key not in MAY_CHANGE and old.get(key) != new.get(key)]
    if changed:
        raise UserError(
            f"'{search.directory.path}' holds a search with other settings ({changed[0]} was {old.get(changed[0])!r}, "
            f"is {new.get(changed[0])!r}): choose another out=DIR"
        )


def _do(search: Search, trials: Sequence[Trial], say: Say) -> None:
    """All runs of some trials that are not finished."""
    missing = [planned for trial in trials for planned in trial.runs if not planned.directory.finished()]
    executor = make_executor(search.chosen.executor)
    with closing(executor.run(missing, search.directory, say=say)) as ended:
        for _ in ended:
            pass


def _line(search: Search, trial: Trial) -> str:
    val = trial.val()
    failed = f"failed ({trial.wrong})" if trial.wrong else "failed"
    outcome = f"{val['accuracy']:.2%} on the validation split" if val else failed
    of = f"{trial.arm.name} trial {trial.number + 1} of {search.chosen.trials}"
    return f"{of}: {outcome} with {settings_text(trial.own)}"
