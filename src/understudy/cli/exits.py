"""Commands about early exits."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from understudy.cli.terminal import reported, say, show
from understudy.cli.training import Overrides

Run = Annotated[str, typer.Argument(metavar="RUN", help="A finished run whose student has early exits.")]


def calibrate(run: Run, overrides: Overrides = None) -> None:
    """Find thresholds on the validation split; they are kept in the run as exits.json.

    One of max_drop=0.005 (the default: save as much as possible, with the accuracy at most so far below the main
    exit's, with 95 % confidence), budget=0.6 (the best accuracy for 60 % of the multiply-adds), rule=gmean, mean or
    precision-recall, and thresholds=[...]. With score=entropy, entropy-nats, max-probability, margin, energy or
    evidence; temperatures=fit fits one for each exit.

    Examples:

      understudy exits calibrate runs/self max_drop=0.005

      understudy exits calibrate runs/self budget=0.6 score=margin temperatures=fit

      understudy exits calibrate runs/self thresholds=[0.3,0.5]
    """
    with reported():
        from understudy.experiments.exit_calibration import calibrate
        from understudy.experiments.exit_run import policy_file
        from understudy.experiments.exit_tables import calibration_notes, calibration_table

        common, own = _settings(calibrate, overrides)
        found = calibrate(run, common, **own)
        show(calibration_table(found))
        for note in calibration_notes(found):
            say(note)
        say(f"wrote {policy_file(run)}")


def evaluate(run: Run, overrides: Overrides = None) -> None:
    """Apply the thresholds of a run to its test split: who leaves where, how many are right, what it costs.

    The figures, with a CSV file behind each, go to exits/ below the run. ood=DATA adds another data set, whose images
    are none of the classes.

    Examples:

      understudy exits evaluate runs/self

      understudy exits evaluate runs/self ood=path/to/other/images
    """
    with reported():
        from understudy.experiments.exit_evaluation import evaluate_exits
        from understudy.experiments.exit_tables import exits_table, ood_table, runtime_line
        from understudy.report.exits import save_curve_figure, save_roc_figure, save_score_figure

        common, own = _settings(evaluate_exits, overrides)
        found = evaluate_exits(run, common, **own)
        save_score_figure(found.logits, found.policy, found.folder / "scores.png", ood_logits=found.ood_logits)
        save_roc_figure(found.logits, found.policy, found.folder / "roc.png")
        save_curve_figure(found.curve, found.static, found.folder / "curve.png", chosen={"chosen": found.test.total})
        show(exits_table(found), *([] if found.ood is None else [ood_table(found.ood)]))
        say(runtime_line(found))
        say(f"wrote {found.folder}")


def export(run: Run, overrides: Overrides = None) -> None:
    r"""Write the network with its thresholds as ONNX files that skip what an image does not need.

    One file for each stage and each head with a runtime of its own (early_exits.py: NumPy and ONNX Runtime, no torch),
    and nested.onnx for one image, whose thresholds are an input. Needs the extra: pip install 'understudy\[onnx]'.

    Examples:

      understudy exits export runs/self

      understudy exits export runs/self out=path/to/device
    """
    with reported():
        from understudy.experiments.exit_export import export_run

        common, own = _settings(export_run, overrides)
        found = export_run(run, common, **own)
        parity = found.parity
        say(
            f"compared with torch on {parity.images} images: {parity.same_exit} take the same exit, logits differ by "
            f"at most {parity.difference:.1e} of the largest"
        )
        say(f"wrote {', '.join(path.name for path in found.files)} to {found.files[0].parent}")


def compare(overrides: Overrides = None) -> None:
    """Does self-distillation help? Base, exits trained on labels alone, and self-distilled, paired by seed.

    For each of models=[...] and seeds=5 three students from the same first weights on the same batches, with
    exits=2 (as student.exits). Other settings are those of understudy train. The tables go to out=DIR as CSV, beside
    the runs; after a stop the same command goes on.

    Examples:

      understudy exits compare data=digits

      understudy exits compare data=cifar10 models=[resnet20,vgg8,wrn-16-2] train.epochs=100 out=runs/cifar
    """
    with reported():
        from understudy.experiments.exit_comparison import compare_exits
        from understudy.experiments.exit_tables import comparison_tables

        pairs = _pairs(overrides)
        names = ("models", "exits", "seeds", "out")
        common = [pair for pair in pairs if pair[0] not in names]
        found = compare_exits(common, **_own(compare_exits, [pair for pair in pairs if pair[0] in names]), say=say)
        show(*comparison_tables(found))
        say(f"wrote {found.folder}")


def _settings(
    function: Callable[..., object], overrides: list[str] | None
) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """Settings of data and device, and those of a function, checked against its signature."""
    pairs = _pairs(overrides)
    common = [(key, value) for key, value in pairs if key == "device" or key.partition(".")[0] == "data"]
    return common, _own(function, [pair for pair in pairs if pair not in common])


def _pairs(overrides: list[str] | None) -> list[tuple[str, Any]]:
    from understudy.config import parse_override

    return [parse_override(override) for override in overrides or []]


def _own(function: Callable[..., object], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    from understudy.config import settings_of, validated

    return validated(settings_of(function, exclude=("say",)), dict(pairs)).model_dump(exclude_unset=True)
