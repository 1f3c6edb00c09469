"""The most memory that this process ever had resident."""

import re
from pathlib import Path


def resident_peak() -> float:
    """Megabytes, of this process alone.

    Linux's own count, since `getrusage` hands down to a process what its parent had before it.
    """
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found.group(1)) / 1e3
