"""What a method says about itself: paper, documentation, settings."""

import inspect
import re
from typing import get_type_hints

import yaml

from understudy.config import complete
from understudy.methods.weighting import Weight
from understudy.testing.case import Case

_RAMP = {"start": 0.0, "end": 1.0, "to_epoch": 20.0}


def check_paper(case: Case) -> None:
    """The first line of the method's module names the paper and its year."""
    line = (inspect.getdoc(inspect.getmodule(case.method)) or "").partition("\n\n")[0]
    case.require(
        bool(re.search(r"\b(19|20)\d\d\b", line)),
        f"its module does not name the paper in the first line, which is {line!r}; "
        'write """What it is (Authors, Title, Venue Year)."""',
    )


def check_documentation(case: Case) -> None:
    """The class says what it is; each setting is keyword-only, has a default and stands in its Args."""
    text = inspect.getdoc(case.method) or ""
    case.require("\n\nArgs:\n" in text, "its docstring has no 'Args:' section; describe each setting there")
    arguments = re.split(r"\n\n(?=\S)", text.partition("\n\nArgs:\n")[2])[0]
    documented = set(re.findall(r"^    (\w+):", arguments, re.MULTILINE))
    parameters = inspect.signature(case.method).parameters
    for name, parameter in parameters.items():
        case.require(
            parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty,
            f"the setting '{name}' must be keyword-only and have a default; put it behind a '*'",
        )
        case.require(name in documented, f"the setting '{name}' is not in the docstring's 'Args:'; describe it there")
    extra = sorted(documented - set(parameters))
    case.require(not extra, f"its docstring describes {', '.join(extra)}, which it does not take; remove that")


def check_settings(case: Case) -> None:
    """The defaults survive YAML and build the method; each weight may be a ramp."""
    defaults = complete(case.method, case.settings, case.name)
    again = yaml.safe_load(yaml.safe_dump(defaults))
    case.require(
        complete(case.method, again, case.name) == defaults,
        f"its settings {defaults} come back from YAML as {again}; use numbers, words, lists and None only",
    )
    case.make(**again)
    for name in weight_settings(case):
        ramped = complete(case.method, {**defaults, name: _RAMP}, case.name)
        case.require(
            bool(case.make(**ramped).ramps),
            f"its setting '{name}' is a Weight, but does not reach Method's constructor: "
            f"super().__init__({{'term': {name}}})",
        )


def weight_settings(case: Case) -> list[str]:
    """Names of the settings that are weights of terms."""
    hints = get_type_hints(case.method.__init__)
    return [name for name in inspect.signature(case.method).parameters if hints.get(name) == Weight]
