"""What the service is told about the files of an image, as fal's SDK tells it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from fal_env_container.images.ignore_patterns import DEFAULT_PATTERNS
from fal_env_container.images.instructions import Instruction, parse

_URLS = ("http://", "https://")


def copied_sources(text: str) -> list[str]:
    """
    Return what ``COPY`` and ``ADD`` in the Dockerfile *text* name of the context.

    Variables stay as they are written.
    """
    found = []
    for instruction in parse(text):
        if instruction.keyword in ("COPY", "ADD"):
            found += [path.lstrip("/") for path in _sources(instruction)]
    return found


def _sources(instruction: Instruction) -> Iterable[str]:
    if "from" in dict(instruction.flags) or instruction.heredocs:
        return ()
    if instruction.keyword == "ADD" and any(url in instruction.text for url in _URLS):
        return ()
    words = instruction.listed
    if words is None:
        try:
            words = tuple(shlex.split(instruction.text))
        except ValueError:
            return ()  # A quote that does not end: the builder says so.
    return words[:-1]


def ignored_expressions(lines: Iterable[str] | None) -> list[str]:
    """
    Return *lines* of a ``.dockerignore`` as the regular expressions that the service takes.

    It reads them as a ``.gitignore``, where a name stands for files in all directories. None
    stands for the default ones.
    """
    from pathspec.patterns.gitwildmatch import GitWildMatchPattern

    stripped = (line.strip() for line in (DEFAULT_PATTERNS if lines is None else lines))
    written = [line for line in stripped if line and not line.startswith("#")]
    expressions = (GitWildMatchPattern.pattern_to_regex(line)[0] for line in written)
    return [each for each in expressions if isinstance(each, str) and each]
