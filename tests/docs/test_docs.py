"""The commands and the code in the documents run as they stand there, where they name no epochs for three."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from child_processes import command_in, finish, start
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TRAINS = ("train", "distill")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def make_images(folder: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6)):
        for name in ("ants", "bees"):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(place / f"{number}.jpg")


def run(arguments: list[str], where: Path) -> None:
    if any(word in TRAINS for word in arguments) and not any("epochs" in word for word in arguments):
        arguments = [*arguments, "train.epochs=3"]
    if arguments[0] == "understudy":
        return run_forked(command_in, arguments[1:], where)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(arguments, cwd=where, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return None


def run_forked(function: Callable[..., object], arguments: list[str], where: Path) -> None:
    """In a child that has imported everything before: half of the time of a short command."""
    process = start(function, where, where / "said.txt", *arguments)
    (code,) = finish(process, seconds=300)
    assert code == 0, f"understudy {shlex.join(arguments)}\n{(where / 'said.txt').read_text()}"


def script_in(folder: Path, said: Path, name: str) -> None:
    """A script in a folder; what it says goes to a file."""
    os.chdir(folder)
    with said.open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        runpy.run_path(name, run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_commands_and_code_run(page: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "path/to/image/folder")
    for language, text in blocks(page):
        if language == "python":
            (tmp_path / "example.py").write_text(text, encoding="utf-8")
            run_forked(script_in, ["example.py"], tmp_path)
            continue
        for line in text.splitlines():
            arguments = shlex.split(line, comments=True)
            if arguments and arguments[0] != "make":
                run(arguments, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert target in targets, f"{page.name} names 'make {target}'"
    for link, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (page.parent / link).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [slug(heading) for heading in headings], f"{page.name} links to {link}#{anchor}"


def slug(heading: str) -> str:
    """The anchor that a heading has where the documents are read."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
