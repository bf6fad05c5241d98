"""A Slurm job array, one task for each run."""

import shlex
from collections.abc import Generator, Sequence

from understudy.record import write_text
from understudy.studies.executors.base import EXECUTORS
from understudy.studies.planned import Planned, Say
from understudy.study_record import StudyDirectory

SCRIPT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}{limit}
#SBATCH --output={log}
{options}
# Written by `understudy study {study} executor=slurm`. Put your own #SBATCH lines above, and below what sets up Python.
# Submit it where the paths in study.yaml are right. A task that is killed goes on when it is requeued.

RUNS=({runs})
exec understudy study {study} --run "${{RUNS[$SLURM_ARRAY_TASK_ID]}}"
"""


@EXECUTORS.register("slurm")
class Slurm:
    """Writes a script for `sbatch` and does nothing itself.

    Args:
        parallel: At most so many tasks at a time; None leaves it to Slurm.
        options: Lines for the head of the script, such as `[--gres=gpu:1, --time=2:00:00]`.
    """

    def __init__(self, *, parallel: int | None = None, options: list[str] | None = None) -> None:
        self.parallel = parallel
        self.options = options or []

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        """See `Executor`; yields nothing."""
        path = study.path / "slurm.sh"
        text = SCRIPT.format(
            name=study.path.name,
            last=len(runs) - 1,
            limit=f"%{self.parallel}" if self.parallel else "",
            log=study.path / "slurm-%A-%a.log",
            options="".join(f"#SBATCH {option}\n" for option in self.options),
            study=shlex.quote(str(study.path)),
            runs=" ".join(shlex.quote(planned.name) for planned in runs),
        )
        write_text(path, text)
        say(f"wrote {path} for {len(runs)} runs: submit it with sbatch, then read what came out with the same command")
        yield from ()
