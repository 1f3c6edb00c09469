"""The most memory that this process ever had resident."""

import re
from pathlib import Path


def resident_peak() -> float:
    """Megabytes, of this process alone; NaN where the system does not tell.

    Linux's own count, since `getrusage` hands down to a process what its parent had before it.
    """
    status = Path("/proc/self/status")
    text = status.read_text(encoding="utf-8") if status.exists() else ""
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1e3 if found else float("nan")
