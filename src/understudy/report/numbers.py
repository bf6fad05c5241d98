"""Numbers for people."""

from collections.abc import Mapping
from typing import Any

NO_NUMBER = "\N{EN DASH}"
# Keeps a number and its unit on one line.
SPACE = "\N{NO-BREAK SPACE}"


def percent(value: float | None, digits: int = 2) -> str:
    """A share of 0..1: 97.43 %."""
    return NO_NUMBER if value is None else f"{100 * value:.{digits}f}{SPACE}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign: +0.40."""
    # Adding 0 takes the sign from what is rounded to 0.
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """An interval of shares in percent: [96.80, 98.05]; empty without one."""
    if low is None or high is None:
        return ""
    sign = "+" if signed else ""
    return f"[{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain number with so many digits behind the point."""
    return NO_NUMBER if value is None else f"{value:.{digits}f}"


def p_text(value: float | None) -> str:
    """A p-value: 0.021, or < 0.001."""
    if value is None:
        return NO_NUMBER
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def p_phrase(value: float | None) -> str:
    """P = 0.021, or p < 0.001, or why there is none."""
    if value is None:
        return "no interval as all differences are equal"
    text = p_text(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def scaled(value: float | None, units: Mapping[str, float]) -> str:
    """Three significant digits in the largest unit that the value reaches."""
    if value is None:
        return NO_NUMBER
    unit = next((unit for unit, size in units.items() if value >= size), min(units, key=lambda name: units[name]))
    scaled_value = value / units[unit]
    text = f"{scaled_value:.0f}" if scaled_value >= 100 else f"{scaled_value:.3g}"
    return f"{text}{SPACE}{unit}".strip()


def count(value: float | None) -> str:
    """A number of parameters or multiply-adds: 272 k, 40.8 M."""
    return scaled(value, {"G": 1e9, "M": 1e6, "k": 1e3, "": 1})


def size(value: float | None) -> str:
    """Bytes: 88.0 kB."""
    return scaled(value, {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1})


def milliseconds(value: float | None) -> str:
    """A time: 1.03 ms."""
    return NO_NUMBER if value is None else f"{value:.3g}{SPACE}ms"


def latency(cost: Mapping[str, Any]) -> float | None:
    """Median milliseconds of one image, of a cost record."""
    for row in cost.get("latency") or []:
        if row["batch"] == 1:
            return row["p50_ms"]
    return cost.get("latency_ms")


def weight_bytes(cost: Mapping[str, Any]) -> float | None:
    """Bytes of the weights' file where it was measured, otherwise of the weights in memory."""
    return cost.get("file_bytes") or cost.get("bytes")
