"""
The files and projects of this machine that requirements refer to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from fal_env_virtualenv.requirements.entries import Form, Requirement


def local_requirements(requirements: Iterable[Requirement]) -> Iterator[Requirement]:
    """
    Yield those of *requirements* that have a path, and what their files refer to in turn.
    """
    seen: set[str] = set()
    left = list(requirements)
    while left:
        requirement = left.pop(0)
        path = requirement.path
        if path is None or path in seen:
            continue
        seen.add(path)
        yield requirement
        if requirement.form == "file" and path.endswith(".txt"):
            left += _references_in(path)


def project_names(requirements: Iterable[Requirement]) -> Iterator[str]:
    """
    Yield the normalised names of the local projects among *requirements*.

    A project whose ``pyproject.toml`` states no name is left out.
    """
    for requirement in local_requirements(requirements):
        if requirement.path is None or not os.path.isdir(requirement.path):
            continue
        try:
            path = os.path.join(requirement.path, "pyproject.toml")
            with open(path, encoding="utf-8", errors="replace") as stream:
                found = re.search(r"""^name\s*=\s*["']([^"']+)["']""", stream.read(), re.M)
        except OSError:
            continue
        if found is not None:
            from packaging.utils import canonicalize_name

            yield canonicalize_name(found[1])


def _references_in(path: str) -> Iterator[Requirement]:
    """
    Yield the local files and projects that the requirements file *path* refers to.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = [line.split(" #")[0].strip() for line in stream]
    except OSError:
        return  # The build fails on this file, and uv says why.
    for line in lines:
        flag, _, rest = line.replace("=", " ", 1).partition(" ")
        editable = flag in ("-e", "--editable")
        if flag in ("-r", "-c", "--requirement", "--constraint") or editable:
            line = rest.strip()
        name = os.path.join(os.path.dirname(path), line.partition("[")[0])
        if line and not line.startswith(("-", "#")) and os.path.exists(name):
            form = _form(name, editable=editable)
            yield Requirement(text=line, form=form, path=os.path.abspath(name))


def _form(path: str, *, editable: bool) -> Form:
    if os.path.isdir(path):
        return "editable" if editable else "path"
    return "file" if path.endswith((".txt", ".in")) else "path"
