"""Where the figures come from, and how to make them again."""

import shlex
from collections.abc import Mapping
from typing import Any

from understudy.record import OBJECT, RunDirectory
from understudy.report.blocks import Block, Code, Facts, Section, Text
from understudy.report.subject import Subject
from understudy.study_record import StudyDirectory

BY_HAND = "Data or models were handed over in Python: no command alone can repeat this."


def origin_section(subject: Subject) -> Section:
    """Command, settings, versions, machine, data and selection rule."""
    run = subject.main.runs[0]
    settings = (StudyDirectory(subject.path) if subject.study else run).config
    text = settings.read_text(encoding="utf-8")
    blocks: list[Block] = [
        Text(BY_HAND) if f"name: {OBJECT}" in text else Code("To repeat it", f"understudy {_again(subject, run)}"),
        Code("All settings", text, settings.name),
        Facts(_facts(subject, run)),
    ]
    return Section("origin", "Where this comes from", blocks)


def _again(subject: Subject, run: RunDirectory) -> str:
    """The command without the program, as called where the settings are."""
    together = RunDirectory(run.path.parent)
    if subject.study:
        return "study study.yaml out=again"
    if together.finished() and "students" in together.read_result():
        # Its own settings are not enough to train one of several students.
        return f"mutual -c {together.config} out=again"
    command = "distill" if run.read_config().get("method") else "train"
    return f"{command} -c config.yaml out=again"


def _facts(subject: Subject, run: RunDirectory) -> list[tuple[str, str]]:
    origin, result = run.read_provenance(), run.read_result()
    data = origin.get("data", {})
    seeds = subject.study["seeds"] if subject.study else [result["seed"]]
    facts = [
        ("Data", f"{subject.data}, {_images(result['images'])}"),
        ("Data fingerprint", data.get("fingerprint", "")),
        ("About the data", "; ".join(data.get("notes", []))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Selection", f"each run keeps the epoch with the best {result['selected']['by']}; test images choose nothing"),
        ("Teacher", (origin.get("teacher") or {}).get("sha256", "") and f"SHA-256 {origin['teacher']['sha256']}"),
        ("Command as typed", "" if subject.study else _typed(origin.get("command", []))),
        ("Started", origin.get("started", "")),
        ("Commit", origin.get("commit") or ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in origin.get("versions", {}).items())),
        ("Machine", _machine(origin.get("machine", {}))),
        ("Notes", "; ".join(note for note in origin.get("notes", []) if note not in data.get("notes", []))),
    ]
    return [(name, text) for name, text in facts if text]


def _images(images: Mapping[str, int]) -> str:
    names = {"train": "training", "val": "validation", "test": "test"}
    return ", ".join(f"{images[split]:,} {name} images" for split, name in names.items())


def _typed(command: list[str]) -> str:
    """Without the path of the program."""
    return shlex.join(["understudy", *command[1:]]) if command else ""


def _machine(machine: Mapping[str, Any]) -> str:
    counts = [f"{key} {machine[key]}" for key in ("processes", "threads", "cores") if key in machine]
    # A CPU often does not tell its name.
    device = str(machine.get("device", "")).removesuffix(" ()")
    return ", ".join(filter(None, [device, *counts]))
