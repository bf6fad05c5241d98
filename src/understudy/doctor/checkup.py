"""A check-up: all probes over one set-up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.doctor.case import IMAGES, Case, MissingError
from understudy.doctor.finding import Finding, error, warning
from understudy.doctor.probe import PROBES
from understudy.errors import UserError
from understudy.experiments.assemble import Given
from understudy.experiments.settings import RunSettings, resolve
from understudy.record import RunDirectory


def examine(
    settings: RunSettings, *, given: Given | None = None, images: int = IMAGES, run: RunDirectory | None = None
) -> list[Finding]:
    """Look at a set-up without training it; nothing is written.

    Args:
        settings: The resolved settings.
        given: Objects that take the place of what the settings name.
        images: Most training and validation images to look at.
        run: The run that these settings are of, to look at what came out as well.

    Returns:
        What was found, the worst first.
    """
    case = Case(settings, given=given, images=images, run=run)
    findings = [found._replace(probe=name) for name in PROBES.names() for found in _probed(name, case)]
    return sorted(findings, key=lambda finding: -finding.severity)


def examine_run(run: str | Path, overrides: Sequence[tuple[str, Any]], *, images: int = IMAGES) -> list[Finding]:
    """Look at a run: its set-up, and what came out where it is finished.

    Args:
        run: A run directory.
        overrides: Settings that are to be tried instead, dotted keys and values.
        images: Most training and validation images to look at.

    Raises:
        UserError: It is no run directory, or settings are wrong.
    """
    directory = RunDirectory(run)
    chosen = directory.read_config()
    command = "distill" if chosen.get("method") else "train"
    settings = resolve(command, [directory.config], [("out", str(run)), *overrides])
    return examine(settings, images=images, run=directory)


def _probed(name: str, case: Case) -> list[Finding]:
    findings: list[Finding] = []
    try:
        # One by one: what was found before a part turned out to be missing stays found.
        findings += PROBES.get(name)(case)
    except MissingError:
        pass
    except UserError as refusal:
        findings.append(error(str(refusal)))
    except Exception as failure:
        # The user's networks run here, and one that fails must not hide what the other probes find.
        reason = " ".join(str(failure).split())
        findings.append(
            warning(f"the probe '{name}' failed: {type(failure).__name__}: {reason}", fix="try the run with --dry-run")
        )
    return findings
