"""A copy of the repository with an environment of its own, where tests run."""

from __future__ import annotations

import configparser
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from mutating.probes import Span, unit_of

#: The paths of either proof, and the options of each.
PATHS = ("tests", "plugins", "docs", "README.md", "CONTRIBUTING.md")
PROOFS = {"short": ("--proof", "short"), "whole": ()}
#: The variable by which processes that outlive their tests are known.
VARIABLE = "MUTATING_RUN"


@attrs.frozen(kw_only=True)
class Run:
    """
    How a run of pytest ended.

    Attributes:
        code: The exit code, None where the run took too long.

        listed: The tests, where they were only to be listed.
    """

    code: int | None
    spans: list[Span]
    listed: list[str]

    @property
    def passed(self) -> bool:
        """Whether no test failed; there may have been none."""
        return self.code in (0, 5)

    @property
    def failed(self) -> list[str]:
        """The tests and pages that failed."""
        return list(dict.fromkeys(span.unit for span in self.spans if span.failed))


@attrs.frozen(kw_only=True)
class Tree:
    """The copy *root*, whose tests the command *pytest* runs; *folder* has what they leave."""

    root: Path
    folder: Path
    pytest: Sequence[str]
    variables: Mapping[str, str]

    def put(self, path: str, text: str) -> None:
        """Write the module *path*, and forget what was compiled of it."""
        file = self.root / path
        file.write_text(text, "utf-8")
        for compiled in file.parent.glob(f"__pycache__/{file.stem}.*.pyc"):
            compiled.unlink()

    def run(
        self, proof: str, *arguments: str, seconds: float | None = None, log: str = "log"
    ) -> Run:
        """
        Run pytest for a proof; what it prints is in the file *log* of the folder.

        Nothing that an earlier run has kept or started is there.
        """
        record, cache = self.folder / "record", self.folder / "cache"
        record.write_text("")
        for left in (cache, self.root / ".hypothesis"):
            shutil.rmtree(left, ignore_errors=True)
        name = str(time.time_ns())
        command = [*self.pytest, "-p", "mutating_recorder", "--record", str(record)]
        command += ["--timeout", "300", *PROOFS[proof], *arguments]
        with (self.folder / log).open("w") as output:
            print(shlex.join(command), file=output, flush=True)
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env={**self.variables, "FAL_CORE_CACHE": str(cache), VARIABLE: name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            code = None
            try:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(seconds)
            finally:
                process.kill()
                end_processes(name)
                process.wait()
        lines = record.read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.endswith("}")]
        spans = [Span(**each) for each in records if "test" in each]
        listed = [each["listed"] for each in records if "listed" in each]
        return Run(code=code, spans=spans, listed=listed)

    def list_tests(self, proof: str, paths: Sequence[str]) -> set[str]:
        """Return the tests and pages that a proof runs."""
        run = self.run(proof, "--collect-only", "-q", *paths)
        if run.code != 0:
            said = (self.folder / "log").read_text("utf-8")[-2000:]
            raise RuntimeError(f"The tests of the {proof} proof could not be listed: {said}")
        return {unit_of(test) for test in run.listed}


def end_processes(name: str) -> None:
    """Kill all that a run has started and left."""
    asked = f"{VARIABLE}={name}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if asked in (directory / "environ").read_bytes().split(b"\0"):
                os.kill(int(directory.name), signal.SIGKILL)


def make_tree(repository: Path, folder: Path) -> Tree:
    """Copy *repository* into *folder*, and install it there as the environment ``tests`` does."""
    from house.wheels import find_uv

    # Other users run parts of it.
    folder.chmod(0o755)
    root, environment = folder / "tree", folder / "environment"
    copy_files(repository, root)
    declared = configparser.ConfigParser(interpolation=None)
    declared.read(root / "tox.ini", encoding="utf-8")
    section = declared["testenv:tests"]
    asked = section["deps"].split()
    for group in section["dependency_groups"].split():
        asked += ["--group", group]
    variables = clean_variables(environment)
    uv = find_uv()
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(environment), *asked],
    ):
        subprocess.run(command, cwd=root, env=variables, check=True)
    [site] = environment.glob("lib/python*/site-packages")
    install_recorder(site)
    pytest = [str(environment / "bin/pytest")]
    return Tree(root=root, folder=folder, pytest=pytest, variables=variables)


def copy_files(repository: Path, root: Path) -> None:
    """Copy the files that git has or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    named = subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout
    for name in filter(None, named.decode().split("\0")):
        if (repository / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, root / name, follow_symlinks=False)


def install_recorder(site: Path) -> None:
    """Copy the plugin of pytest to where it can be imported."""
    shutil.copy(Path(__file__).with_name("recorder.py"), site / "mutating_recorder.py")


def clean_variables(environment: Path) -> dict[str, str]:
    """Return the variables of this process as they are in another virtual environment."""
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "UV_RESOLUTION")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    own = str(Path(sys.executable).parent)
    paths = [path for path in variables["PATH"].split(os.pathsep) if path != own]
    paths = [str(environment / "bin"), *paths]
    return variables | {"VIRTUAL_ENV": str(environment), "PATH": os.pathsep.join(paths)}
