"""The conformance battery: what every method must do, for this package and for plug-ins."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from understudy.methods.base import METHODS, Method
from understudy.testing import paperwork, teachers, terms, training
from understudy.testing.case import Case, small_network

__all__ = ["CHECKS", "Case", "check_method", "small_network"]

CHECKS: Mapping[str, Callable[[Case], None]] = {
    "paper": paperwork.check_paper,
    "documentation": paperwork.check_documentation,
    "settings": paperwork.check_settings,
    "terms": terms.check_terms,
    "gradient": terms.check_gradient,
    "targets": terms.check_targets,
    "unlabelled": terms.check_unlabelled,
    "bf16": terms.check_bf16,
    "processes": terms.check_processes,
    "compile": terms.check_compile,
    "teacher": training.check_teacher,
    "resume": training.check_resume,
    "weight zero": training.check_weight_zero,
    "deploy": training.check_deploy,
    "saved": training.check_saved,
    "reordered": teachers.check_reordered,
    "ensemble": teachers.check_ensemble,
}
"""All checks by name; each takes a `Case` and raises an `AssertionError` that says what is wrong and how to mend it."""


def check_method(
    method: type[Method] | str,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    **settings: object,
) -> None:
    """Hold a method against everything that this package relies on; it takes a few seconds on one core.

    ```python
    def test_my_method() -> None:
        check_method(MyMethod, weight=2.0)
    ```

    Args:
        method: A method, or the name of a registered one.
        student: A network for colour images of 16x16 with five classes; None is a residual network of 8 layers.
        teacher: Likewise, wider by default; `small_network((4, 6, 8))` is as wide as the student.
        settings: What the method is made with, where its defaults do not fit such small networks.

    Raises:
        AssertionError: The method breaks a rule; the message says which, and how to mend it.
    """
    case = Case(METHODS.get(method) if isinstance(method, str) else method, settings, student=student, teacher=teacher)
    for name, check in CHECKS.items():
        try:
            with torch.random.fork_rng(devices=[]):
                check(case)
        except Exception as error:
            error.add_note(f"in check_method's check '{name}' of {case.name}")
            raise
