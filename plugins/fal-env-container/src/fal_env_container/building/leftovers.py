"""
Containers that a build leaves where the engine could not remove them, as on a full disk.
"""

from __future__ import annotations

import json
import os
import re

import attrs

from fal_env_container.engines import Engine

_NAME = re.compile(r".+-working-container(?:-\d+)?")


@attrs.frozen
class Leftovers:
    """
    What a build may have left.

    Attributes:
        since: When the build began, in seconds since the epoch.

        images: The ids of the images that it stood on.

        label: The label of its layers.
    """

    engine: Engine
    since: float
    images: tuple[str, ...]
    label: str

    def remove(self) -> bool:
        """
        Remove the containers of the build, which has ended; return whether there are none.

        Podman gives them no mark. They are those of builds, made since the build began, of
        one of its images, while no other build runs; else they stay.
        """
        engine = self.engine
        if engine.name != "podman" or engine.place != "here":
            return True
        found = self._find()
        return not found or engine.ask("rm", "--force", *found).code == 0

    def _find(self) -> list[str]:
        if _builds_run():
            return []
        named = ("--all", "--quiet", "--no-trunc", f"--filter=label={self.label}")
        layers = self.engine.ask("images", *named).output.split()
        made = {*self.images, *(each.removeprefix("sha256:") for each in layers)}
        answer = self.engine.ask("ps", "--all", "--external", "--format=json")
        try:
            rows = json.loads(answer.output)
        except ValueError:
            return []
        return [
            row["Id"]
            for row in rows
            if row.get("State") == "storage"
            and row.get("Created", 0) >= int(self.since)
            and row.get("ImageID") in made
            and any(_NAME.fullmatch(name) for name in row.get("Names") or ())
        ]


#: What could not be removed yet, since that takes some room on the disk as well.
_waiting: list[Leftovers] = []


def remove_later(left: Leftovers) -> None:
    """
    Remove *left*, now or before the next build of this process.
    """
    _waiting.append(left)
    remove_waiting()


def remove_waiting() -> None:
    """
    Remove what builds before could not.
    """
    for left in _waiting[:]:
        if left.remove():
            _waiting.remove(left)


def _builds_run() -> bool:
    """
    Tell whether a build of Podman or Buildah runs on this machine.
    """
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                words = stream.read().split(b"\0")
        except OSError:
            continue
        program = os.path.basename(words[0])
        if program in (b"podman", b"buildah") and {b"build", b"bud"} & set(words[1:]):
            return True
    return False
