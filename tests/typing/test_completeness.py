"""What type checkers know of the packages once they are installed, as users have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

for _needed in ("mypy", "pyright", "fal_server", "fal_env_conda"):
    pytest.importorskip(_needed)

#: The packages from which the programs of users import.
PACKAGES = (
    "fal_core",
    "fal_serve",
    "fal_host_serverless",
    "fal_env_virtualenv",
    "fal_env_container",
)

_COUNTED = "It counts in attributes that its base declares, which nobody else sees."
_UVICORN = "It sets attributes that its base, of uvicorn, declares."

#: Names that not every type checker may see alike, or the classes that have them.
AMBIGUOUS = {
    "fal_core.environments.LocalInterpreter": "attrs makes a field of what has an annotation.",
    "fal_core.errors.OptionValueError": "A field is made of what has an annotation.",
    "fal_core.sealing.portability.PortablePickler": "cloudpickle has no types.",
    "fal_serve.answering.exchanges.HTTPExchange": _COUNTED,
    "fal_serve.answering.exchanges.WebsocketExchange": _COUNTED,
    "fal_serve.serving.http_protocols.ServiceProtocol": _UVICORN,
    "fal_serve.serving.websocket_protocols.WebsocketProtocol": _UVICORN,
}


@pytest.fixture(scope="module")
def environment(
    install_extra: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A virtual environment with all packages, from wheels."""
    place = tmp_path_factory.mktemp("all") / "venv"
    install_extra(place, "all", python=sys.executable)
    return place


def verify(environment: Path, package: str) -> list[dict[str, Any]]:
    """Return what pyright knows of each name that *package* exports."""
    binaries = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    asked = ("--verifytypes", package, "--ignoreexternal", "--outputjson")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *asked],
        cwd=environment.parent,
        env={**os.environ, "VIRTUAL_ENV": str(environment), "PATH": binaries},
        capture_output=True,
        text=True,
    )
    symbols: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    return [each for each in symbols if each["isExported"]]


def is_ambiguous(symbol: dict[str, Any]) -> bool:
    """Tell whether *symbol* is so by itself, and not for what it refers to."""
    if symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]:
        return False
    said = [each["message"] for each in symbol["diagnostics"]]
    return any("docstring" not in each and "partially unknown" not in each for each in said)


def test_types_of_all_names_are_known(environment: Path) -> None:
    """
    Every name that a package exports has one type for all type checkers, except those of
    the table.
    """
    with ThreadPoolExecutor(2) as pool:
        found = dict(
            zip(PACKAGES, pool.map(partial(verify, environment), PACKAGES), strict=True)
        )
    assert all(found.values()), found
    names = [
        each["name"] for symbols in found.values() for each in symbols if is_ambiguous(each)
    ]
    owners = {each if each in AMBIGUOUS else each.rpartition(".")[0] for each in names}
    assert owners == set(AMBIGUOUS), sorted(names)
