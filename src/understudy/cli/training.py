"""Commands that train."""

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.terminal import reported, say, show

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
Config = Annotated[list[Path] | None, typer.Option("--config", "-c", help="YAML file of settings; may be repeated.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print the plan (data, sizes, layers, cost), write nothing.")
]


def train(overrides: Overrides = None, config: Config = None, dry_run: DryRun = False) -> None:
    """Train a model on labels alone: a teacher, or a baseline.

    Examples:

      understudy train data=digits model=cnn-m out=runs/teacher

      understudy train data=path/to/image/folder model=resnet20 train.epochs=1

      understudy train data=digits model=cnn-m model.weights=other.pt train.optimizer=sgd train.optimizer.lr=0.1
    """
    _run("train", overrides, config, dry_run)


def distill(overrides: Overrides = None, config: Config = None, dry_run: DryRun = False) -> None:
    """Train a student with the help of a teacher.

    Examples:

      understudy distill data=digits teacher=runs/teacher student=cnn-xs method=kd method.temperature=4

      understudy distill data=digits teacher=runs/teacher student=cnn-xs method=logit-mse label.weight=0.5

      understudy distill -c runs/kd/config.yaml seed=2 out=runs/kd-2

      torchrun --nproc-per-node 2 -m understudy distill data=digits teacher=runs/teacher student=cnn-xs
    """
    _run("distill", overrides, config, dry_run)


def chain(overrides: Overrides = None, config: Config = None, dry_run: DryRun = False) -> None:
    """Train students one after the other, each with the help of the one before.

    Settings are those of `distill`, with chain=[FIRST,SECOND,...] or generations=N in place of one student. Without a
    teacher the first student learns from labels alone. Each run has a directory of its own below out=DIR.

    Examples:

      understudy chain data=digits chain=[cnn-m,cnn-s,cnn-xs] out=runs/assistants

      understudy chain data=digits student=cnn-xs generations=3 out=runs/born-again

      understudy chain data=digits teacher=runs/teacher chain=[cnn-s,cnn-xs] method.temperature=2 out=runs/takd
    """
    with reported():
        from understudy.config import parse_override
        from understudy.engine.distributed import join, leave
        from understudy.experiments.chain import rehearse, resolve_chain, run_chain
        from understudy.experiments.plan import plan_tables
        from understudy.experiments.tables import chain_table

        links = resolve_chain(config or [], [parse_override(override) for override in overrides or []])
        if dry_run:
            for made in rehearse(links, say=say):
                show(*plan_tables(made))
            return
        world = join(links[0].settings.device)
        try:
            results = run_chain(links, world=world, say=say)
        finally:
            leave()
        show(chain_table(results))


def mutual(overrides: Overrides = None, config: Config = None, dry_run: DryRun = False) -> None:
    """Train students that teach each other, without a teacher (deep mutual learning).

    Settings are those of `distill`, with students=[FIRST,SECOND,...] in place of teacher and student, and with
    optimizers=[...] or schedules=[...] where they differ. Each student has a directory of its own below out=DIR.

    Examples:

      understudy mutual data=digits students=[cnn-xs,cnn-xs] out=runs/dml

      understudy mutual data=digits students=[cnn-xs,cnn-xs,cnn-s] mutual.peers=probabilities mutual.updates=alternating

      understudy mutual data=digits students=[cnn-m,cnn-xs] mutual.weights=[0,1] method=kd out=runs/co-trained
    """
    with reported():
        from understudy.config import parse_override
        from understudy.engine.distributed import join, leave
        from understudy.experiments.cohort import prepare_cohort, run_cohort
        from understudy.experiments.cohort_settings import resolve_cohort
        from understudy.experiments.plan import plan_tables
        from understudy.experiments.tables import cohort_table

        settings = resolve_cohort(config or [], [parse_override(override) for override in overrides or []])
        if dry_run:
            for made in prepare_cohort(settings, say=say).made:
                show(*plan_tables(made))
            return
        world = join(settings.members[0].device)
        try:
            result = run_cohort(settings, world=world, say=say)
        finally:
            leave()
        show(cohort_table(result))
        say(f"wrote {settings.out}")


def _run(command: str, overrides: list[str] | None, files: list[Path] | None, dry_run: bool) -> None:
    with reported():
        from understudy.config import parse_override
        from understudy.engine.distributed import join, leave
        from understudy.experiments.plan import plan_tables
        from understudy.experiments.run import prepare, run
        from understudy.experiments.settings import resolve
        from understudy.experiments.tables import result_table

        pairs = [parse_override(override) for override in overrides or []]
        settings = resolve("train" if command == "train" else "distill", files or [], pairs, say=say)
        if dry_run:
            return show(*plan_tables(prepare(settings, say=say).made))
        world = join(settings.device)
        try:
            result = run(settings, world=world, say=say)
        finally:
            leave()
        show(result_table(result))
        say(f"wrote {settings.out}")
    return None
