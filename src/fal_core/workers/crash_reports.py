"""What Python writes about a crash of a worker: where in the function it was."""

from __future__ import annotations

import os
import re

#: Such a report, to its end.
_REPORT = re.compile(r"^Fatal Python error: .*", re.MULTILINE | re.DOTALL)
_FRAME = re.compile(
    r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$', re.MULTILINE
)

#: Folders of what is installed, and files of no program.
_INSTALLED = re.compile(r"/(?:site|dist)-packages/|/lib/python3\.\d+/|^<")
_OURS = re.compile(r"/fal_core_worker/|^<")


def split_report(text: str) -> tuple[str, str]:
    """
    Return *text* without the report at its end, and the place of the crash, as in
    ``f, line 12``; that is empty where there is none.

    A report of several frames stays, without those of the worker itself.
    """
    found = _REPORT.search(text)
    report = "" if found is None else found[0]
    # Other threads may stand before the one that has crashed.
    frames = _FRAME.finditer(report.partition("Current thread")[2] or report)
    theirs = [frame for frame in frames if not _OURS.search(frame["file"])]
    if found is None or not theirs:
        return text, ""
    # That of a library is of less use than the line which has called it.
    written = [frame for frame in theirs if not _INSTALLED.search(frame["file"])]
    place = (written or theirs)[0]
    rest = text[: found.start()]
    if len(theirs) > 1:
        rest += "\n".join([report.splitlines()[0], *(frame[0] for frame in theirs)])
    name = place["name"].rpartition(".")[2]
    where = "" if written else f" of {os.path.basename(place['file'])}"
    return rest.rstrip("\n"), f"{name}{where}, line {place['line']}"
