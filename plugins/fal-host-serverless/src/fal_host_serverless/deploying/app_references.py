"""References to applications: ``file.py::App``, or the name of one in a project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from fal_core.functions import IsolatedFunction
from fal_host_serverless.deploying import projects
from fal_host_serverless.deploying.projects import DeclaredApp
from fal_host_serverless.errors import WrongArgument

#: Held while an application is loaded and sealed: loading another one may put away modules
#: of the same names.
ALONE = Lock()


def resolve(app_ref: str | tuple[str, str | None] | None) -> DeclaredApp:
    """
    Return the application that *app_ref* refers to.

    Arguments:
        app_ref: A file with or without a name, a name in a project, or None for the only
            application of a project.

    Raises:
        WrongArgument: It refers to none.
    """
    if isinstance(app_ref, tuple):
        file, name = app_ref
        app_ref = f"{file}::{name}" if name else file
    if app_ref and ("::" in app_ref or app_ref.endswith(".py")):
        return DeclaredApp(name="", ref=app_ref)
    path = projects.find_project()
    if path is None:
        what = f"{app_ref!r} names no file" if app_ref else "No application is given"
        raise WrongArgument(
            f"{what}, and no pyproject.toml declares applications under [tool.fal.apps]. "
            "Write as in 'file.py::App'."
        )
    known = projects.names(path)
    if app_ref is None and len(known) != 1:
        raise WrongArgument(
            f"{path} declares several applications. Name one: {', '.join(known)}."
        )
    return projects.read_app(path, app_ref or known[0])


def load(ref: str) -> IsolatedFunction[..., Any]:
    """
    Return the application at *ref* as an isolated function. The caller holds
    :data:`ALONE` until it is sealed.

    Raises:
        WrongArgument: There is none.

        OptionError: Its file cannot be loaded.
    """
    from fal_core.loading import TargetError, load_target

    try:
        with _serverless_by_default():
            return load_target(ref)
    except TargetError as error:
        raise WrongArgument(str(error)) from error


@contextmanager
def _serverless_by_default() -> Iterator[None]:
    """Make the serverless host the default of functions that are declared in the context."""
    written = os.environ.get("FAL_CORE_HOST")
    os.environ["FAL_CORE_HOST"] = written or "serverless"
    try:
        yield
    finally:
        if written is None:
            del os.environ["FAL_CORE_HOST"]
