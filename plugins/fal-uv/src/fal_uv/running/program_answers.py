"""
Answers of programs, kept until the program changes.

A file of answers is JSON: each question has the answer, and the path, time and size of
the program that the answer is about.
"""

from __future__ import annotations

import json
import os
from typing import Any

from fal_core.caches import write_atomically


def read_answer(path: str, question: str) -> Any:
    """
    Return the answer to *question* in the file *path*.

    It is None if there is none, or if the program has changed since.
    """
    try:
        entry = _load(path)[question]
        unchanged = entry["stamp"] == _stamp(entry["program"])
        return entry["answer"] if unchanged else None
    except (KeyError, TypeError, OSError):
        return None


def keep_answer(path: str, question: str, answer: object, *, program: str) -> None:
    """
    Keep the *answer* to *question*, for as long as the file *program* does not change.

    Raises:
        OSError: The file *path* cannot be written, or *program* cannot be read.
    """
    entry = {"program": program, "stamp": _stamp(program), "answer": answer}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, json.dumps({**_load(path), question: entry}, indent=1))


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            loaded = json.load(stream)
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _stamp(program: str) -> list[int]:
    status = os.stat(program)
    return [status.st_mtime_ns, status.st_size]
