"""Memory that is freed in one step is needed again in the next."""

import ctypes
import sys

# From malloc.h of the GNU C library.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the GNU C library keep freed memory for the next step; elsewhere do nothing.

    By default it gives every block above 32 MB back to the system at once, such as the maps of a network in float32 at
    batch 128. The next step gets it page by page again, each of them cleared: a sixth of the time of such a step on a
    CPU. The process keeps as much as its largest step needed.

    Returns:
        Whether it could be told.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        # Another C library.
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))
