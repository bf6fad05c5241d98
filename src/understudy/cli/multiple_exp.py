"""The command of anvelezec/distillation."""

from typing import Annotated, Any

import typer

from understudy.cli.terminal import reported, say, show
from understudy.cli.training import DryRun, Overrides

LAST = 15


def multiple_exp(
    teacher_file: Annotated[
        str, typer.Option("--teacher_file", "--teacher-file", help="Run directory, saved model or file of weights.")
    ],
    overrides: Overrides = None,
    alpha: Annotated[
        list[str] | None, typer.Option(help="Weight of the labels' loss, 0 to 1; several as 0,0.5,1.")
    ] = None,
    n_exp: Annotated[int, typer.Option("--n_exp", "--n-exp", help="Runs of each alpha, each with its own seed.")] = 4,
    data_dir: Annotated[
        str, typer.Option("--data_dir", "--data-dir", help="Folder with train and val, or a data set's name.")
    ] = "data/hymenoptera_data",
    num_epochs: Annotated[int, typer.Option("--num_epochs", "--num-epochs")] = 25,
    batch_size: Annotated[int, typer.Option("--batch_size", "--batch-size")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of SGD.")] = 0.001,
    momentum: Annotated[float, typer.Option(help="Of SGD.")] = 0.9,
    step_size: Annotated[
        int, typer.Option("--s_lr_step_size", "--s-lr-step-size", help="Epochs between falls of the learning rate.")
    ] = 7,
    gamma: Annotated[
        float, typer.Option("--s_lr_gamma", "--s_rl_gamma", "--s-lr-gamma", help="What it is multiplied by.")
    ] = 0.1,
    student: Annotated[str, typer.Option(help="A model name.")] = "torchvision:resnet18",
    teacher: Annotated[str, typer.Option(help="The model that a file of weights belongs to.")] = "torchvision:resnet50",
    out: Annotated[str | None, typer.Option(help="Directory of the study.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Logit matching at one mixture of the losses or several: alpha * CE + (1 - alpha) * MSE, in several runs each.

    The flags are those of anvelezec/distillation; more settings follow as key=value. The same command goes on with
    what is not finished; another --alpha adds to the same study.

    Examples:

      understudy multiple-exp --alpha 0,0.5,1 --n_exp 4 --data_dir data/hymenoptera_data --teacher_file runs/teacher

      understudy multiple-exp --data_dir digits --student cnn-xs --teacher_file runs/teacher --num_epochs 5 --lr 0.05
    """
    with reported():
        from understudy.config import parse_override
        from understudy.studies.multiple_exp import Flags, check_first, parse_alphas, resolve_flags
        from understudy.studies.study import run_study
        from understudy.studies.summary import failed_lines
        from understudy.studies.tables import plan_table

        flags = Flags(
            teacher_file=teacher_file,
            alpha=parse_alphas(alpha or ["0.5"]),
            n_exp=n_exp,
            data_dir=data_dir,
            num_epochs=num_epochs,
            batch_size=batch_size,
            lr=lr,
            momentum=momentum,
            step_size=step_size,
            gamma=gamma,
            student=student,
            teacher=teacher,
            out=out,
        )
        study = resolve_flags(flags, [parse_override(text) for text in overrides or []], say=say)
        check_first(study, say=say)
        if dry_run:
            return show(plan_table(study.runs()))
        summary = run_study(study, say=say)
        if summary["finished"]:
            _show(study.directory, summary)
        for line in failed_lines(summary):
            say(f"failed: {line}")
        if summary["failed"]:
            raise typer.Exit(1)
    return None


def _show(directory: Any, summary: dict[str, Any]) -> None:
    from understudy.studies.pooled import pool, save_pooled
    from understudy.studies.tables import arms_table, comparisons_table, pooled_table

    rows = pool(directory, summary)
    save_pooled(directory, rows)
    show(pooled_table(rows), arms_table(summary))
    if summary["comparisons"]:
        show(comparisons_table(summary))
    else:
        say("one alpha has nothing to be compared with: --alpha 1 adds the labels alone")
    for warning in summary["warnings"]:
        say(f"warning: {warning}")
    figures = _save_figures(directory, summary)
    say(f"wrote pooled.csv, {', '.join(figures)} and the numbers behind them below {directory.path}")


def _save_figures(directory: Any, summary: dict[str, Any]) -> list[str]:
    """Loss, accuracy and logit gap over the epochs, each also of the last ones alone."""
    from understudy.report.epochs import epoch_values, save_epochs_figure
    from understudy.studies.pooled import QUANTITIES

    curves = {arm["name"]: epoch_values(directory, arm) for arm in summary["arms"] if arm["runs"]}
    written: list[str] = []
    for name in ("loss", "accuracy", "gap"):
        found = {arm: each[name] for arm, each in curves.items() if name in each}
        if not found:
            continue
        for last, suffix in ((None, ""), (LAST, f"-last-{LAST}")):
            path = directory.path / f"val-{name}{suffix}.png"
            label = f"{QUANTITIES[name][1]} on the validation split"
            written.append(save_epochs_figure(found, path, label=label, last=last).name)
    return written
