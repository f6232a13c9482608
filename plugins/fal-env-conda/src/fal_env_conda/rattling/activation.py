"""
What activating a prefix changes, its packages' scripts included.

It runs in the process of rattler, and nothing else of this package is imported there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any


async def activate(*, prefix: str, variables: dict[str, str], platform: str) -> dict[str, Any]:
    """Return what activating *prefix* changes: variables, and directories of ``PATH``."""
    from rattler import Subdir
    from rattler.shell import ActivationVariables, Shell, activate

    names = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "PATH")
    before = {name: os.environ[name] for name in names if name in os.environ}
    place = Path(prefix)
    path = before.get("PATH", os.defpath).split(os.pathsep)
    script = activate(
        place,
        ActivationVariables(None, path),
        shell=Shell.bash,
        platform=Subdir(platform),
    ).script
    # In the state of the prefix, rattler would have the shell expand what they have in them.
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()
    )
    after = await _run(exports + script, prefix, before)
    for name in variables.keys() & _settings(place):
        after[name] = variables[name]
    if variables:
        state = json.dumps({"env_vars": variables})
        (place / "conda-meta" / "state").write_text(state, "utf-8")
    rest = len(path)
    added = after.pop("PATH", "").split(os.pathsep)
    shell_own = {"_", "SHLVL", "PWD", "OLDPWD"}
    return {
        "variables": {
            name: value
            for name, value in after.items()
            if name in variables or (name not in shell_own and before.get(name) != value)
        },
        "path": added[:-rest] if added[-rest:] == path else added,
    }


def _settings(prefix: Path) -> set[str]:
    """Return the names of the variables that packages in *prefix* set without a script."""
    found: set[str] = set()
    for path in (prefix / "etc" / "conda" / "env_vars.d").glob("*.json"):
        found.update(json.loads(path.read_text("utf-8")))
    return found


async def _run(script: str, prefix: str, before: dict[str, str]) -> dict[str, str]:
    """Return the variables that there are after *script* has been run with those of *before*."""
    shell = shutil.which("bash")
    if shell is None:
        raise OSError(
            "There is no bash, with which packages are activated that have scripts. Install it."
        )
    dump = "import json, os; print(json.dumps(dict(os.environ)))"
    python = shlex.quote(os.path.join(prefix, "bin", "python"))
    process = await asyncio.create_subprocess_exec(
        shell,
        "--noprofile",
        "--norc",
        "-c",
        f"{{\n{script}\n}} >&2\n{python} -I -S -c {shlex.quote(dump)}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=before,
        cwd=prefix,
    )
    output, _ = await process.communicate()
    if process.returncode or not output.strip():
        raise RuntimeError(
            f"Activating the packages failed: bash ended with code {process.returncode}."
        )
    after: dict[str, str] = json.loads(output)
    return after
