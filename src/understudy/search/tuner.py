"""The trials of one arm, kept by Optuna: which settings come next depends on what those before came to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from understudy.errors import UserError
from understudy.search.settings import Search, SearchArm
from understudy.search.space import distributions
from understudy.studies.planned import Planned

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class Trial(NamedTuple):
    """One try of an arm.

    Attributes:
        arm: What is tuned.
        number: Optuna's.
        own: What it tries, by dotted key.
        runs: One for each seed; none where the settings do not fit together.
        wrong: Why they do not.
    """

    arm: SearchArm
    number: int
    own: Mapping[str, Any]
    runs: list[Planned]
    wrong: str | None = None

    def val(self) -> dict[str, float] | None:
        """Mean scores on the validation split; None if a run is not finished. The test split is not looked at."""
        if not self.runs or not all(planned.directory.finished() for planned in self.runs):
            return None
        scores = [planned.directory.read_result()["val"] for planned in self.runs]
        return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


class Tuner:
    """Asks Optuna's TPE for settings and tells it what they came to.

    A trial that was begun in an earlier process is asked for again. What comes next is a function of the seed, the
    number of the trial and the results so far: it does not matter whether the search was stopped in between.

    Args:
        search: The search; its directory is locked.
        arm: What is tuned.
    """

    def __init__(self, search: Search, arm: SearchArm) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search = search
        self.arm = arm
        self._distributions = distributions(arm.space)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(search.directory.trials))),
            study_name=arm.name,
            direction="maximize",
            load_if_exists=True,
        )

    def told(self) -> list[Trial]:
        """Those that are done, failed ones among them."""
        return [self._trial(trial.number, trial.params) for trial in self._whole() if trial.state.is_finished()]

    def ask(self) -> list[Trial]:
        """The next trials: those that were begun, else new ones; none when all are done."""
        begun = [trial for trial in self._whole() if not trial.state.is_finished()]
        count = min(self.search.chosen.parallel, self.search.chosen.trials - len(self.told()))
        asked = [self._trial(trial.number, trial.params) for trial in begun]
        return [*asked, *(self._new() for _ in range(count - len(asked)))]

    def tell(self, trial: Trial) -> None:
        """Take down what a trial came to."""
        from optuna.trial import TrialState

        val = trial.val()
        if val is None:
            self._study.tell(trial.number, state=TrialState.FAIL)
        else:
            self._study.tell(trial.number, val["accuracy"])

    def _new(self) -> Trial:
        from optuna.samplers import TPESampler

        # A sampler that is made anew would draw the same numbers anew: each trial has its own.
        number = len(self._study.get_trials(deepcopy=False))
        seed = int(np.random.SeedSequence([self.search.chosen.seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed)
        trial = self._study.ask(self._distributions)
        return self._trial(trial.number, trial.params)

    def _whole(self) -> "list[FrozenTrial]":
        """Without those whose settings were being drawn when the process was killed."""
        return [trial for trial in self._study.get_trials() if trial.params.keys() == self._distributions.keys()]

    def _trial(self, number: int, own: Mapping[str, Any]) -> Trial:
        try:
            return Trial(self.arm, number, own, self.search.runs(self.arm, number, own))
        except UserError as error:
            return Trial(self.arm, number, own, [], str(error))
