#!/usr/bin/env python3
"""
Run one of this repository's tasks, as in ``python3 dev.py tests``.

The tasks are the environments of ``tox.ini``. A Python with pip is all that is
needed: tox and uv are put into ``.tox`` beside this file, and nothing is
installed anywhere else, so that it also works where pip must not touch the
system's Python. What is there already is used again.
"""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WORK = ROOT / ".tox"
TOOLS = ("tox>=4.30,<5", "tox-uv>=1.28,<2", "uv>=0.5")


def main(arguments: list[str]) -> int:
    """
    Run the tox environments that the first of *arguments* names.

    The rest goes to the environments' own commands.
    """
    if sys.version_info < (3, 10):  # noqa: UP036, an older Python must be told so
        return complain(f"Python 3.10 or newer is needed, not {sys.version.split()[0]}.")
    if arguments[:1] in (["-h"], ["--help"]):
        print(describe_tasks())
        return 0
    if not arguments or arguments[0].startswith("-"):
        return complain(describe_tasks())
    names, *rest = arguments
    try:
        tox = find_tox()
    except subprocess.CalledProcessError as error:
        return complain(f"tox could not be installed: {error.cmd[0]} ended with an error.")
    stale = [name for name in names.split(",") if is_stale(name)]
    command = [str(tox), "run", "-c", str(ROOT / "tox.ini"), "-e", names]
    command += ["--recreate"] if stale else []
    rest = rest[1:] if rest[:1] == ["--"] else rest
    command += ["--", *rest] if rest else []
    sys.stdout.flush()
    return os.execv(tox, command)


def describe_tasks() -> str:
    """Return what this program does, and its tasks with their descriptions."""
    declared = configparser.ConfigParser(interpolation=None)
    declared.read(ROOT / "tox.ini", encoding="utf-8")
    tasks = {
        title.partition(":")[2]: section["description"]
        for title, section in declared.items()
        if title.startswith("testenv:")
    }
    width = max(map(len, tasks))
    return "\n".join(
        (
            (__doc__ or "").strip(),
            "",
            *(f"  {name:{width}}  {description}" for name, description in tasks.items()),
            "",
            declared["testenv"]["description"],
            "",
            *(f"  {each}" for each in declared["tox"]["env_list"].split() if "{" in each),
        )
    )


def find_tox() -> Path:
    """Return the path of tox, installing it where it is missing or of another Python."""
    tox = WORK / "tools/bin/tox"
    stamp = WORK / "tools" / "made-for"
    made_for = "\n".join((sys.executable, sys.version, *TOOLS))
    if tox.exists() and stamp.exists() and stamp.read_text() == made_for:
        return tox
    seed = WORK / "seed"
    # A virtual environment may have no pip; the Python that it was made of has one.
    python = sys.executable if importlib.util.find_spec("pip") else sys._base_executable
    # pip takes a target directory also where it refuses to touch this Python.
    pip = [python, "-m", "pip", "install", "--quiet", "--no-user", "--upgrade"]
    variables = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        [*pip, "--target", str(seed), TOOLS[-1]], check=True, env={**os.environ, **variables}
    )
    uv = str(seed / "bin/uv")
    tools = str(WORK / "tools")
    subprocess.run([uv, "venv", "--quiet", "--clear", "-p", sys.executable, tools], check=True)
    python = str(WORK / "tools/bin/python")
    subprocess.run([uv, "pip", "install", "--quiet", "-p", python, *TOOLS], check=True)
    stamp.write_text(made_for)
    return tox


def is_stale(name: str) -> bool:
    """
    Tell whether the environment *name* was made of other declarations than today's.

    tox sees a change of its own file, but not one of what the packages depend on.
    """
    declared = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))):
        declared.update(path.read_bytes())
    digest = declared.hexdigest()
    stamp = WORK / f"{name}.declared"
    fresh = stamp.exists() and stamp.read_text() == digest
    stamp.write_text(digest)
    return not fresh and (WORK / name).exists()


def complain(sentence: str) -> int:
    """Print *sentence* to standard error and return the exit code of a usage error."""
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
