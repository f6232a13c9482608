"""Locks of uv: how they are made of what settles more than names, installed, and written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from fal_uv.installing import uv_errors
from fal_uv.installing.runs import UvRuns
from fal_uv.requirements import url_credentials
from fal_uv.requirements.entries import Requirement
from fal_uv.requirements.settled import Settled, local_names, with_absolute_paths
from fal_uv.running import uv

#: Locks are an experiment of uv, which says so each time.
_PREVIEW = ("--preview-features", "pylock")


def install_settled(
    runs: UvRuns, requirement: Requirement, *, compile_bytecode: bool, refresh: bool
) -> str:
    """
    Install what *requirement* settles; return the text of the lock that uv made of it, with
    absolute paths and without credentials.

    Raises:
        EnvironmentBuildError: uv failed; the error says why.

        Cancelled: The build was cancelled.
    """
    found = requirement.settled
    assert found is not None
    path = found.path
    if found.form != "lock":
        path = _export(runs, requirement, found, refresh=refresh)
    with open(path, encoding="utf-8") as stream:
        text = with_absolute_paths(stream.read(), os.path.dirname(path))
    install_lock(runs, text, requirement, compile_bytecode=compile_bytecode)
    return url_credentials.strip(text)


def _export(runs: UvRuns, requirement: Requirement, found: Settled, *, refresh: bool) -> str:
    """Have uv write what the program or project *found* settles into a lock; return its path."""
    path = os.path.join(runs.workspace, "pylock.exported.toml")
    options, variables = runs.settings(refresh, own=True)
    options += ["--quiet", "--no-header", "--format", "pylock.toml", "--output-file", path]
    options += _PREVIEW
    if found.form == "script":
        options += ["--script", found.path, *runs.target.choice[:2]]
    else:
        options += ["--project", found.path, "--no-default-groups"]
        options += [word for name in found.groups for word in ("--group", name)]
        options += [word for name in found.extras for word in ("--extra", name)]
        options += [] if found.editable else ["--no-editable"]
    if found.lock is not None:
        options.append("--frozen" if found.frozen else "--locked")
    lines, code = runs.run_uv(["export", *options], variables)
    if code != 0:
        raise uv_errors.build_error(
            runs.kind,
            lines,
            [requirement],
            code,
            newest=lambda name: newest_version(runs, name),
        )
    return path


def install_lock(
    runs: UvRuns, text: str, requirement: Requirement, *, compile_bytecode: bool
) -> None:
    """
    Install the files in a lock with this *text* and absolute paths.

    Raises:
        EnvironmentBuildError: A file is not what the lock says, or uv failed otherwise.

        Cancelled: The build was cancelled.
    """
    path = runs.write("pylock.toml", [text])
    options, variables = runs.settings(refresh=False, own=True)
    if requirement.settled is not None and (named := requirement.settled.indexes()):
        # The lock does not have the credentials in their URLs.
        more = variables.get("UV_INDEX", os.environ.get("UV_INDEX"))
        variables["UV_INDEX"] = " ".join(filter(None, [*named, more]))
    options += [] if runs.indexes.configuration else ["--no-config"]
    options += [*runs.target.choice, *runs.target.place, *_PREVIEW]
    options += [] if runs.builds else ["--no-build"]
    options += ["--compile-bytecode"] if compile_bytecode else []
    # As in other installations, uv is not left to tell whether a project has changed.
    options += [word for name in local_names(text) for word in ("--reinstall-package", name)]
    lines, code = runs.run_uv(["pip", "install", *options, "-r", path], variables)
    if code != 0:
        raise uv_errors.build_error(runs.kind, lines, [requirement], code)


def newest_version(runs: UvRuns, name: str) -> str | None:
    """Return the newest version of a package that uv would take; None if it says none."""
    options, variables = runs.settings(refresh=False)
    options += [*runs.target.choice, "--no-deps", "--no-header", "--no-annotate"]
    options += ["--quiet", runs.write("newest.txt", [name])]
    _, output = uv.ask(
        [*uv.uv_command(), "pip", "compile", *options],
        variables=variables,
        directory=runs.workspace,
    )
    found = re.search(r"(?m)^[\w.-]+==(\S+)", output)
    return found and found[1]


def write_lock(runs: UvRuns, pins: Sequence[str], lock: str) -> str:
    """
    Return the text of a lock of *pins*, and of the packages that the text *lock* has.

    Raises:
        EnvironmentBuildError: An index does not say where a file is, or what its hash is.

        Cancelled: It was cancelled.
    """
    if not pins and lock:
        return lock
    path = os.path.join(runs.workspace, "pylock.written.toml")
    options, variables = runs.settings(refresh=False)
    options += [*runs.target.choice, "--no-deps", "--no-header", "--quiet"]
    options += ["--generate-hashes", "--format", "pylock.toml", "--output-file", path]
    options += [*_PREVIEW, runs.write("locked.txt", pins)]
    lines, code = runs.run_uv(["pip", "compile", *options], variables)
    if code != 0:
        raise uv_errors.build_error(runs.kind, lines, [], code)
    with open(path, encoding="utf-8") as stream:
        text = with_absolute_paths(stream.read(), runs.workspace)
    _, found, packages = text.partition("[[packages]]")
    return f"{lock.rstrip()}\n\n{found}{packages}" if lock else text
