"""
References: what stands for an application, in a file or in a project.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fal_core.functions import IsolatedFunction
from fal_host_serverless import projects
from fal_host_serverless.arguments import WrongArgument


def resolve(app_ref: str | tuple[str, str | None] | None) -> projects.Declared:
    """
    Return the application that *app_ref* stands for.

    Raises:
        WrongArgument: It stands for none.
    """
    if isinstance(app_ref, tuple):
        file, name = app_ref
        app_ref = f"{file}::{name}" if name else file
    if app_ref and ("::" in app_ref or app_ref.endswith(".py")):
        return projects.Declared(name="", ref=app_ref)
    path = projects.find_project()
    if path is None:
        what = "names no file, and no" if app_ref else "is not given, and no"
        raise WrongArgument(
            f"The application {what} pyproject.toml declares any under [tool.fal.apps]. "
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
    Return the application at *ref* as an isolated function.

    Raises:
        WrongArgument: There is none.

        OptionError: Its file cannot be loaded.
    """
    from fal_core.loading.targets import TargetError, load_target

    _forget(ref.partition("::")[0])
    try:
        with _serverless_by_default():
            return load_target(ref)
    except TargetError as error:
        raise WrongArgument(str(error)) from error


@contextmanager
def _serverless_by_default() -> Iterator[None]:
    """
    Have functions that name no host be of this one, while their file is read.
    """
    written = os.environ.get("FAL_CORE_HOST")
    os.environ["FAL_CORE_HOST"] = written or "serverless"
    try:
        yield
    finally:
        if written is None:
            del os.environ["FAL_CORE_HOST"]


def _forget(place: str) -> None:
    """
    Have the file *place* read anew, where this process has deployed it before.
    """
    name = Path(place).stem
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if place.endswith(".py") and loaded == os.path.abspath(place) and name != "__main__":
        del sys.modules[name]
