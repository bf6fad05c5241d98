"""What a user did wrong, said in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LISTED = 20
NUM_OF_MANY = 8


class UserError(ValueError):
    """Bad input: the message is one line with the offending value and the fix. The command line exits with code 2."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Name the closest option, or list them: `did you mean 'x'?` or `choose from a, b, c`; of many the first few."""
    known = sorted(options)
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if not known:
        return "there is none to choose from"
    if len(known) <= MAX_LISTED:
        return f"choose from {', '.join(known)}"
    return f"choose from {', '.join(known[:NUM_OF_MANY])}, ... ({len(known) - NUM_OF_MANY} more)"
