"""Terminals: a clean virtual environment, a folder with what a clone has, and a shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
from house.wheels import find_uv, install

from follow.outputs import replace_all
from follow.pages import ROOT

#: Seconds that a command may take, and those between two looks at it.
PATIENCE, PAUSE = 600.0, 0.05

#: What a command that runs until Ctrl-C prints once it can be used.
READY = re.compile(r"^(# Ready\. Ctrl-C ends it\.|playground  http.*|metrics  .*http.*)$", re.M)

#: Variables that lead to this clone, its environment, or services of whoever runs this.
CLEARED = ("FAL_", "ISOLATE_", "PYTEST_", "PYTHON", "TOX_", "UV_RESOLUTION", "VIRTUAL_ENV")

#: Ports of a server, in the order in which it prints them.
SERVER_PORTS = ("6001", "6002", "6003", "6004", "6005")
_PRINTED_PORTS = re.compile(r"api (\d+), run (\d+), queue (\d+), ws (\d+), metrics (\d+)")

#: Runs a command, and keeps the directory and the variables that it leaves.
_SHELL = """\
trap 'code=$?; /usr/bin/env -0 >"$FOLLOW/variables"; pwd >"$FOLLOW/directory"; exit $code' EXIT
{command}
"""


@attrs.frozen
class Done:
    """
    What came of a command.

    Attributes:
        code: Its exit code. None for one that goes on until Ctrl-C.
    """

    code: int | None
    output: str
    errors: str


@attrs.frozen
class Service:
    """A command that runs until Ctrl-C, and the variables of where it was typed."""

    command: str
    process: subprocess.Popen[bytes]
    errors: Path
    variables: dict[str, str]


@attrs.define
class Terminal:
    """
    A shell in a folder of its own, with a virtual environment that has pip alone.

    Arguments:
        folder: Where its files go: the environment, the home directory, and ``clone``,
            where commands are typed. That has the examples, and the wheels in ``dist``.

        published: Whether installers find the wheels by themselves, as on an index.

        cold: Whether caches begin empty, as on a machine that never had fal-core.
    """

    folder: Path
    wheels: Path
    python: str
    published: bool = attrs.field(kw_only=True)
    cold: bool = attrs.field(kw_only=True, default=False)
    directory: Path = attrs.field(init=False)
    variables: dict[str, str] = attrs.field(init=False)
    #: What the page calls what has another name here, by its name here.
    names: dict[str, str] = attrs.field(init=False, factory=dict)
    _services: list[Service] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir()
        self.directory = self.folder / "clone"
        self.directory.mkdir()
        (self.folder / "home").mkdir()
        (self.directory / "dist").symlink_to(self.wheels)
        shutil.copytree(
            ROOT / "examples", self.directory / "examples", ignore=lambda *_: ["__pycache__"]
        )
        self.variables = self._clean_variables()
        self.names[self.variables["HOME"]] = "/home/me"
        self.use_environment("")

    def _clean_variables(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(CLEARED)
        }
        own = str(Path(sys.executable).parent)
        path = [each for each in kept["PATH"].split(os.pathsep) if each != own]
        user = Path.home()
        variables = kept | {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.folder / "home"),
            "FOLLOW": str(self.folder),
            "FAL_CORE_CACHE": str(self.folder / "cache"),
            # Indexes, and what containers need, are those of whoever runs this.
            "XDG_CONFIG_HOME": kept.get("XDG_CONFIG_HOME", str(user / ".config")),
            "XDG_CACHE_HOME": kept.get("XDG_CACHE_HOME", str(user / ".cache")),
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        if self.cold:
            caches = str(self.folder / "caches")
            variables |= {"XDG_CACHE_HOME": caches}
            for name in ("PIP_CACHE_DIR", "UV_CACHE_DIR"):
                variables.pop(name, None)
        if self.published:
            found = variables.get("PIP_FIND_LINKS", ""), variables.get("UV_FIND_LINKS", "")
            variables["PIP_FIND_LINKS"] = f"{found[0]} {self.wheels}".strip()
            variables["UV_FIND_LINKS"] = f"{found[1]},{self.wheels}".strip(",")
        return variables

    def use_environment(self, extra: str) -> bool:
        """Go on in the virtual environment for *extra*; return whether it is new."""
        place = self.folder / f"venv-{extra}".rstrip("-").replace(",", "-")
        new = not place.exists()
        if new:
            seeded = (find_uv(), "venv", "--quiet", "--seed", "--no-project")
            install(*seeded, "--python", self.python, str(place))
        path = self.variables["PATH"].split(os.pathsep)
        others = [each for each in path if not each.startswith(str(self.folder / "venv"))]
        self.variables["PATH"] = os.pathsep.join([str(place / "bin"), *others])
        self.variables["VIRTUAL_ENV"] = str(place)
        return new

    def type(self, command: str) -> Done:
        """Type *command*, and wait until it ends, or says that it can be used."""
        command = self._with_own_ports(command)
        number = len(list(self.folder.glob("*.out")))
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        with out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                ["bash", "-c", _SHELL.format(command=command)],
                cwd=self.directory,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        for _ in wait_for(process):
            said = out.read_text("utf-8") + err.read_text("utf-8")
            if READY.search(said):
                self._services.append(Service(command, process, err, dict(self.variables)))
                self._learn_ports(said)
                break
        else:
            self._remember()
        return Done(
            process.poll(),
            self._as_on_the_page(out.read_text("utf-8", "replace")),
            self._as_on_the_page(err.read_text("utf-8", "replace")),
        )

    def _with_own_ports(self, command: str) -> str:
        for port in re.findall(r"--port (\d{4,5})\b", command):
            if port not in self.names.values():
                self.names[free_port()] = port
        if "fal-core server start" in command and "--port" not in command:
            command = re.sub(r"(fal-core server start)", r"\1 --port 0", command)
            if self._lacks_networks():
                command = command.replace(" --port 0", " --port 0 --allow-open-runners")
        own = {page: here for here, page in self.names.items() if page.isdigit()}
        return replace_all(command, own)

    def _lacks_networks(self) -> bool:
        asked = "from fal_core_worker.serving import networks; print(networks.missing())"
        done = subprocess.run(
            ["python", "-c", asked], env=self.variables, capture_output=True, text=True
        )
        return bool(done.stdout.strip())

    def _learn_ports(self, said: str) -> None:
        for printed in _PRINTED_PORTS.findall(said):
            self.names |= dict(zip(printed, SERVER_PORTS, strict=True))

    def _as_on_the_page(self, text: str) -> str:
        for here, page in self.names.items():
            text = text.replace(here, page)
        return text

    def _remember(self) -> None:
        """Go on with the directory and the variables that the last command has left."""
        with suppress(FileNotFoundError):
            left = (self.folder / "variables").read_bytes().decode().rstrip("\0").split("\0")
            self.variables = dict(each.split("=", 1) for each in left)
            self.directory = Path((self.folder / "directory").read_text().rstrip("\n"))

    def close(self) -> str:
        """End what runs until Ctrl-C; return what is wrong with how it ended."""
        wrong = ""
        for service in reversed(self._services):
            with suppress(ProcessLookupError):
                os.killpg(service.process.pid, signal.SIGINT)
            for _ in wait_for(service.process):
                pass
            if code := service.process.returncode:
                said = service.errors.read_text("utf-8", "replace").strip()[-1000:]
                wrong = f"After Ctrl-C, exit code {code}: {said}"
            if "fal-core server start" in service.command:
                # They go on without their server, so that accepted requests are answered.
                self.variables = service.variables
                data = self.folder / "home/.local/share/fal-core/server"
                done = self.type(f"fal-core server end-runners --data {shlex.quote(str(data))}")
                wrong = wrong or ("" if done.code == 0 else f"Runners go on: {done.errors}")
        self._services.clear()
        return wrong


def wait_for(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Yield until *process* has ended, or has taken too long and is killed."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        yield
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE)


def free_port() -> str:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])
