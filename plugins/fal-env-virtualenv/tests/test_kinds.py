"""
The options of the kind ``virtualenv``.
"""

from __future__ import annotations

import subprocess
import sys

from fal_env_virtualenv import Virtualenv


def test_repr_holds_no_credentials() -> None:
    """
    A declaration can be printed without giving passwords away.
    """
    environment = Virtualenv(
        requirements=["tool @ git+https://ghp_secret@host/tool.git"],
        extra_index_urls=["https://user:hunter2@host/simple"],
    )
    assert "secret" not in repr(environment)
    assert "hunter2" not in repr(environment)


def test_key_starts_no_process_and_imports_little() -> None:
    """
    What a new process needs to find a built environment is light.
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
