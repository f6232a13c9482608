"""Outputs: what a page shows of them, beside what was printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: What a page has to show if it is printed.
ALARMS = re.compile(
    r"^(Traceback \(most recent call last\):|.*\w*Warning: .*|\s*warning: .*)", re.MULTILINE
)


def fits(shown: Iterable[str], printed: str) -> bool:
    """
    Whether *printed* is what a page shows of it.

    Where that varies the page has an ellipsis: for a part of a line, or for lines. Empty
    lines, and spaces where lines end, do not count.
    """
    pattern = ""
    for line in filter(str.strip, shown):
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += re.escape(line.rstrip()).replace("…", "[^\n]*?") + "\n"
    kept = "".join(f"{line.rstrip()}\n" for line in printed.splitlines() if line.strip())
    return re.fullmatch(pattern, kept) is not None


def find_alarm(printed: str) -> str:
    """Return the first warning, or the end of the first traceback. Empty if there is none."""
    found = ALARMS.search(printed)
    if found is None:
        return ""
    if not found[0].startswith("Traceback"):
        return found[0].strip()
    lines = printed[found.start() :].splitlines()
    last = next((line for line in lines[1:] if not line.startswith((" ", "\t"))), lines[0])
    return f"Traceback … {last}"


def replace_all(text: str, names: Mapping[str, str]) -> str:
    """Return *text* with other names, of which none is a part of a longer number or word."""
    for old, new in names.items():
        text = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", lambda _, new=new: new, text)
    return text
