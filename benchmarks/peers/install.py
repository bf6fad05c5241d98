"""Put each tool kit into an environment of its own, `.venv-peers/NAME`, on the torch that this project has.

    python -m benchmarks.peers.install [NAME ...]

understudy goes in first, for the networks and the images, with everything it needs as pinned in `constraints.txt`;
then what `requirements/NAME.txt` pins, without what that asks for: KD_Lib pins versions for Python 3.9 and earlier.
What does not fit is printed.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data import ROOT

REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = ROOT / ".venv-peers"


def python_of(name: str) -> Path:
    """The interpreter of a tool kit's environment, whether it is there or not."""
    return ENVIRONMENTS / name / "bin" / "python"


def peers() -> list[str]:
    """Names of all tool kits."""
    return sorted(file.stem for file in REQUIREMENTS.glob("*.txt"))


def install(name: str) -> None:
    """Make the environment anew.

    Raises:
        subprocess.CalledProcessError: A package cannot be installed; uv has said why.
    """
    python, wanted = str(python_of(name)), str(REQUIREMENTS / f"{name}.txt")
    into = ["pip", "install", "--quiet", "--python", python]
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENTS / name))
    _uv(*into, "--constraint", "constraints.txt", "--editable", ".[tensorboard]")
    _uv(*into, "--no-deps", "--requirement", wanted)
    subprocess.run([sys.executable, "-m", "uv", "pip", "check", "--python", python], cwd=ROOT, check=False)


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], cwd=ROOT, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Install what is named, or all; go on where one cannot be installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(peers())}; all by default")
    names = parser.parse_args(arguments).names or peers()
    if unknown := set(names) - set(peers()):
        parser.error(f"unknown {', '.join(sorted(unknown))}: choose from {', '.join(peers())}")
    for name in names:
        try:
            install(name)
            print(f"{name}: installed", flush=True)
        except subprocess.CalledProcessError:
            print(f"{name}: could not be installed", flush=True)


if __name__ == "__main__":
    main()
