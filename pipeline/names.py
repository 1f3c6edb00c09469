"""Names of files and folders that every system takes: a render may go from one to another.

Windows takes some names for devices, whatever their suffix, loses a dot or space at the end, and
refuses characters that Linux takes. Windows and macOS see one file where names differ in case only,
or in how an accent is written.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final


def _in_any_case(word: str) -> str:
    """A pattern; the flag for it is not in the regular expressions of JSON schemas."""
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word)


_DEVICES: Final = "|".join(
    [_in_any_case(word) for word in ("con", "prn", "aux", "nul")]
    + [f"{_in_any_case(word)}[0-9\u00b9\u00b2\u00b3]" for word in ("com", "lpt")]
)
_REFUSED: Final = r'[<>:"/\\|?*\x00-\x1f\x7f]'

COMPONENT: Final = rf"(?!({_DEVICES})(\.|$))[A-Za-z0-9_-]([A-Za-z0-9._-]{{0,98}}[A-Za-z0-9_-])?"
"""What a config may call a file or folder, as a regular expression of Python and of JavaScript."""


def usable(text: str) -> str:
    """The name nearest to a text, such as a file's stem, that a folder can have on every system."""
    name = re.sub(_REFUSED, "_", text).rstrip(". ")
    return f"_{name}" if not name or re.match(rf"({_DEVICES}) *(\.|$)", name) else name


def distinct(names: Iterable[str]) -> list[str]:
    """The names, numbered where a system would take one for another before it."""
    taken: set[str] = set()
    result = []
    for name in names:
        own, count = name, 1
        while _seen(own) in taken:
            count += 1
            own = f"{name}-{count}"
        taken.add(_seen(own))
        result.append(own)
    return result


def _seen(name: str) -> str:
    """How the least exact system sees a name."""
    return unicodedata.normalize("NFC", name).casefold()
