"""Real engines for tests: Podman with a store of its own, and images made of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs
from image_roots import (
    find_program,
    once,
    python_archive,
    standard_library,
    write_foreign_root,
    write_root,
)

#: What is of the engine and not of the store is apart too: a store that is removed takes it
#: along, and the containers of all others would be forgotten while they run.
_CONF = """\
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = {runtime!r}
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
image_copy_tmp_dir = '{folder}/tmp'
tmp_dir = '{folder}/libpod'
"""

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""

_ROOTLESS_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/runroot"
[storage.options]
ignore_chown_errors = "true"
[storage.options.vfs]
ignore_chown_errors = "true"
"""

_AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

TINY = "localhost/tests/tiny:1"
PYTHON = "localhost/tests/python:1"
BARE = "localhost/tests/bare:1"
FOREIGN = "localhost/tests/foreign:1"

#: Bytes that have to be free where stores are.
_ROOM = 4 << 30


def make_folder(prefix: str) -> Path:
    """
    Make a folder for a store: in memory where there is room, since engines write much and wait
    for the disk.
    """
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if has_room else "/tmp"))


def missing() -> str | None:
    """Return why no test with an engine can run here; None if they can."""
    if shutil.which("podman") is None:
        return "podman is not installed"
    if os.geteuid() != 0:
        return "podman needs root here, since the tests import images of the machine"
    if _runtime() is None:
        return "neither runc nor crun is installed"
    if shutil.which("nft") is None:
        return "nft is not installed, with which podman makes the networks of its containers"
    return None


def _runtime() -> str | None:
    # crun fails on the mixed cgroups that some machines have.
    return next((name for name in ("runc", "crun") if shutil.which(name)), None)


@attrs.frozen
class LocalEngine:
    """
    Podman with a store in *folder*, for this process and those that it starts.

    Attributes:
        archives: Where the archives are that its images are made of; other engines of the same
            run of the tests have theirs of them too.
    """

    folder: Path
    archives: Path

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables that lead to the store."""
        return {
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF_OVERRIDE": str(self.folder / "containers.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "FAL_CORE_CONTAINER_ENGINE": "podman",
        }

    def create(self) -> None:
        """Write the settings of the store."""
        (self.folder / "tmp").mkdir(parents=True)
        content = _CONF.format(runtime=_runtime(), folder=self.folder)
        (self.folder / "containers.conf").write_text(content.replace("'", '"'))
        (self.folder / "storage.conf").write_text(_STORAGE.format(folder=self.folder))

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run podman, and return what it printed."""
        done = subprocess.run(
            ["podman", *arguments],
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def import_image(
        self, name: str, programs: Sequence[str], *, folders: Iterable[str] = ()
    ) -> None:
        """Make the image *name* of programs of this machine, what they load, and *folders*."""
        write = partial(write_root, programs=programs, folders=folders)
        # An engine takes no path with a colon.
        file = name.replace("/", "_").replace(":", "_")
        self.import_archive(name, once(self.archives / f"{file}.tar", write))

    def import_archive(self, name: str, archive: Path, *options: str) -> None:
        """Make the image *name* of the archive of its root."""
        change = ("--change", "ENV PATH=/usr/bin:/bin")
        self.run("import", "--quiet", *change, *options, str(archive), name)

    def has(self, name: str) -> bool:
        """Tell whether there is an image *name*."""
        command = ["podman", "image", "exists", name]
        return subprocess.run(command, env={**os.environ, **self.variables}).returncode == 0

    def import_tiny(self) -> str:
        """Return an image that has a shell and few programs."""
        if not self.has(TINY):
            self.import_image(TINY, ["sh", "cat", "ls", "sleep", "env", "dd", "mkdir"])
        return TINY

    def import_python(self) -> str:
        """Return an image that has the system's Python, and a shell."""
        if not self.has(PYTHON):
            self.import_archive(PYTHON, python_archive(self.archives))
        return PYTHON

    def import_bare_python(self) -> str:
        """Return an image that has the system's Python, and no other program."""
        if not self.has(BARE):
            self.import_image(BARE, ["python3"], folders=[standard_library()])
        return BARE

    def import_foreign(self) -> str:
        """Return an image for another processor, whose programs this machine cannot run."""
        if not self.has(FOREIGN):
            archive = once(self.archives / "foreign.tar", write_foreign_root)
            self.import_archive(FOREIGN, archive, "--arch=arm64")
        return FOREIGN

    def derive(
        self, name: str, base: str, *, folder: Path | None = None, changes: Sequence[str] = ()
    ) -> str:
        """
        Make the image *name* of *base* with the files of *folder* in its root, and return its
        name.

        Arguments:
            changes: Instructions, as in ``USER 1000``.
        """
        made = self.run("create", "--pull=never", "--network=none", base, "true")
        if folder is not None:
            self.run("cp", f"{folder}/.", f"{made}:/")
        options = [word for change in changes for word in ("--change", change)]
        self.run("commit", "--quiet", *options, made, name)
        self.run("rm", made)
        return name

    def images(self, *arguments: str) -> set[str]:
        """Return the ids of all images, those of layers included."""
        return set(self.run("images", "--all", "--quiet", "--no-trunc", *arguments).split())

    def containers(self) -> set[str]:
        """Return the ids of all containers, those of builds included."""
        return set(self.run("ps", "--all", "--external", "--quiet", "--no-trunc").split())

    def have_file(self, path: str) -> bool:
        """Tell whether one of the containers that run has the file *path*."""
        here = "--remote=false"
        running = self.run(here, "ps", "--quiet").split()
        return any(self.run(here, "exec", each, "ls", path, check=False) for each in running)

    def remove(self) -> None:
        """Remove all containers, all images and the store."""
        self.run("rm", "--all", "--force", "--time", "0", check=False)
        left = self.run("ps", "--all", "--external", "--quiet", check=False).split()
        if left:
            self.run("rm", "--force", *left, check=False)
        # A store whose mounts are gone is a directory.
        self.run("system", "reset", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@attrs.frozen
class RootlessEngine:
    """Podman as a user without rights, with a store in *folder*, which that user can reach."""

    folder: Path = attrs.field(factory=partial(make_folder, "fal-podman-"))

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables that lead to the store, and to nothing of root's."""
        return {
            "HOME": str(self.folder / "home"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF_OVERRIDE": str(self.folder / "containers.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "FAL_CORE_CONTAINER_ENGINE": "podman",
            "FAL_CORE_CACHE": str(self.folder / "cache"),
        }

    @property
    def program(self) -> Path:
        """A program that is this engine, also for root."""
        return self.folder / "podman"

    def create(self) -> str:
        """Write the settings of the store; return why no such engine runs here, or nothing."""
        for name in ("run", "home", "tmp", "cache"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        content = _CONF.format(runtime=_runtime(), folder=self.folder).replace("'", '"')
        content = "".join(
            line for line in content.splitlines(True) if "default_ulimits" not in line
        )
        (self.folder / "containers.conf").write_text(content)
        (self.folder / "storage.conf").write_text(_ROOTLESS_STORAGE.format(folder=self.folder))
        told = " ".join(f"{name}={value}" for name, value in self.variables.items())
        self.program.write_text(
            f'#!/bin/sh\nexport {told}\nexec {" ".join(_AS_NOBODY)} podman "$@"\n'
        )
        self.program.chmod(0o755)
        subprocess.run(["chown", "-R", "65534:65534", str(self.folder)], check=True)
        asked = "{{.Host.CgroupsVersion}} {{.Host.Security.Rootless}}"
        if self.run("podman", "info", "--format", asked).stdout.strip() != "v1 true":
            return "podman does not run without the rights of root here, or keeps limits"
        if self.run_python("-c", "import fal_core").returncode:
            return "users without rights cannot import fal_core"
        return ""

    def remove(self) -> None:
        """End what such an engine leaves running, and remove the store."""
        for record in self.folder.rglob("pause.pid"):
            pid = int(record.read_text())
            with suppress(OSError):
                if b"catatonit" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the system's Python, which others can run too, with the packages of this one."""
        return self.run(find_program("python3"), *arguments)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run *command* as the user of the engine."""
        packages = [path for path in sys.path if not path.startswith(sys.base_prefix)]
        return subprocess.run(
            [*_AS_NOBODY, *command],
            cwd=self.folder,
            env={**os.environ, **self.variables, "PYTHONPATH": os.pathsep.join(packages)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
