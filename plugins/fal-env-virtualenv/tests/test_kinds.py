"""
The options of the kind ``virtualenv``.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import fal_env_virtualenv
from fal_core.errors import OptionError
from fal_env_virtualenv.kinds import Virtualenv


def test_repr_holds_no_credentials() -> None:
    """
    The representation of a declaration masks credentials.
    """
    environment = Virtualenv(
        requirements=["tool @ git+https://ghp_secret@host/tool.git"],
        extra_index_urls=["https://user:hunter2@host/simple"],
    )
    assert "secret" not in repr(environment)
    assert "hunter2" not in repr(environment)


def test_key_starts_no_process_and_imports_little() -> None:
    """
    Finding an environment that is built starts no process and imports no heavy module.
    """
    script = (
        "import sys, attrs, fal_core.environments\n"
        "before = set(sys.modules)\n"
        "from fal_env_virtualenv import Virtualenv\n"
        "environment = Virtualenv(requirements=['six'])\n"
        "environment.key, environment.is_built()\n"
        "heavy = {'subprocess', 'shutil', 'tempfile', 'click', 'asyncio', 'selectors',"
        " 'importlib.metadata', 'pathlib', 'urllib', 'uv', 'cattrs'}\n"
        "print(sorted(heavy & set(sys.modules) - before))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resolver": "poetry"}, "'resolver' must be 'uv' or 'pip'"),
        ({"constraints_file": "/nowhere/constraints.txt"}, "there is no such file"),
        ({"tags": "mine"}, "A list of str is needed"),
        ({"extra_index_urls": "https://me:hunter2@host/simple"}, r"'https://\*\*\*@host"),
    ],
)
def test_wrong_options_are_refused_at_the_declaration(
    options: dict[str, Any], says: str
) -> None:
    """
    An error names the option or quotes the value, with credentials masked.
    """
    with pytest.raises(OptionError, match=says):
        Virtualenv(**options)


def test_class_is_found_at_the_package() -> None:
    """
    The class is imported from the package, which registers it.
    """
    assert fal_env_virtualenv.Virtualenv is Virtualenv
    assert list(fal_env_virtualenv.fal_register_environments()) == [Virtualenv]
