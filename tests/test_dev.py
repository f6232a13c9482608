"""``dev.py``: the tasks of the repository."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_the_tasks_are_listed(arguments: list[str], code: int) -> None:
    """Help lists every task with what it does, and so does the error where no task is named."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == code
    told = ended.stderr if code else ended.stdout
    declared = (ROOT / "tox.ini").read_text(encoding="utf-8")
    tasks = re.findall(r"^\[testenv:(.+)\]\ndescription = (.+)$", declared, re.M)
    assert "tests" in dict(tasks)
    for name, description in tasks:
        assert re.search(rf"^  {name} +{re.escape(description)}$", told, re.M), name


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="This system has no such signal.")
def test_programs_of_tests_hear_the_keys_that_end_programs(tmp_path: Path) -> None:
    """
    Tests that a shell has started aside, for which it ignores Ctrl-C and Ctrl-\\, start
    programs that those end.
    """
    numbers = [signal.SIGINT, signal.SIGQUIT]
    ignored = "signal.getsignal(number) == signal.SIG_IGN"
    code = f"import signal\nprint(*[int({ignored}) for number in {[*map(int, numbers)]}])"
    (tmp_path / "test_it.py").write_text(
        "import subprocess, sys\n"
        "def test_it():\n"
        f"    heard = subprocess.check_output([sys.executable, '-c', {code!r}], text=True)\n"
        "    assert heard.split() == ['0', '0']\n"
    )
    aside = ["sh", "-c", "trap '' INT QUIT; exec \"$@\"", "sh"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "--rootdir", "."]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*aside, *command, "test_it.py"],
        cwd=tmp_path,
        env={name: value for name, value in variables.items() if "XDIST" not in name},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
