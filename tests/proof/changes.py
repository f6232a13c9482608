"""Which test files a change asks for: those of the changed modules, and those that import one."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Where the packages are, and where their tests are.
TESTS_OF = {
    "src/fal_core/": "tests/",
    "src/fal_core_worker/": "tests/worker/",
    "plugins/fal-server/src/fal_server_agent/": "plugins/fal-server/tests/agent/",
}


def find_base() -> str:
    """Return the newest commit that is a day older than this one: what a landing adds is newer."""
    day = int(_git("log", "-1", "--format=%ct").strip()) - 24 * 3600
    found = _git("rev-list", "-1", f"--before={day}", "HEAD").strip()
    return found or _git("rev-list", "--max-parents=0", "HEAD").split()[-1]


@functools.cache
def find_changes(revision: str) -> frozenset[str]:
    """Return the files that are not as they were at *revision*, and those that are new."""
    named = _git("diff", "--name-only", revision).splitlines()
    named += _git("ls-files", "--others", "--exclude-standard").splitlines()
    return frozenset(named)


@functools.cache
def find_tests(revision: str) -> frozenset[Path]:
    """Return the test files that the changes since *revision* ask for."""
    changes = find_changes(revision)
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]
    modules = sorted(filter(None, map(name_of, changes)))
    wanted = {str(ROOT / name) for name in changes} | set(mirrors_of(changes))
    imports = re.compile(rf"\b({'|'.join(map(re.escape, modules))})\b") if modules else None
    return frozenset(
        file
        for file in files
        if str(file) in wanted or (imports and imports.search(_imports(file)))
    )


def name_of(file: str) -> str | None:
    """Return the module that a *file* of a package is, as it is imported; None for others."""
    found = re.fullmatch(r"(?:plugins/[\w-]+/)?src/(.+?)(?:/__init__)?\.py", file)
    return found[1].replace("/", ".") if found and "/" in found[1] else None


def mirrors_of(changes: Iterable[str]) -> Iterable[str]:
    """Yield the test file of each changed module, where one would be."""
    for file in changes:
        for source, tests in TESTS_OF.items():
            if file.startswith(source):
                folder, rest = tests, file[len(source) :]
                break
        else:
            found = re.fullmatch(r"(plugins/[\w-]+/)src/\w+/(.+)", file)
            if found is None:
                continue
            folder, rest = f"{found[1]}tests/", found[2]
        path = Path(rest)
        yield str(ROOT / folder / path.parent / f"test_{path.name}")


def _imports(file: Path) -> str:
    """Return the lines of a test file that import something, with names of modules in full."""
    found = re.findall(
        r"^\s*(?:from ([\w.]+) import (\([^)]*\)|.+)|import ([\w., ]+))",
        file.read_text("utf-8"),
        re.MULTILINE,
    )
    return "\n".join(
        f"{module} " + " ".join(f"{module}.{name}" for name in re.findall(r"\w+", names))
        if module
        else plain
        for module, names, plain in found
    )


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
