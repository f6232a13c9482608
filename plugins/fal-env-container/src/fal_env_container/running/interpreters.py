"""
Interpreters of containers: the command that runs Python in a new container.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from fal_core.environments import Command, Interpreter
from fal_core.reprs import show_fields
from fal_env_container.engines import QUIET, Engine
from fal_env_container.images.built_images import BuiltImage


@attrs.frozen(kw_only=True)
class ContainerInterpreter(Interpreter):
    """
    The Python of *image*, in a container of its own for each process.
    """

    __repr__ = show_fields

    passes_fds = False

    engine: Engine
    image: BuiltImage
    executable: str = "python3"
    python_version: str | None = None

    def command(
        self, arguments: Sequence[str], *, variables: Mapping[str, str] = {}, **_: Any
    ) -> Command:
        options = ("--rm", "--interactive", "--init", f"--entrypoint={self.executable}")
        named = [f"--env={name}={value}" for name, value in variables.items()]
        return Command(
            argv=self.engine.command("run", *options, *named, self.image.id, *arguments),
            variables=QUIET,
        )
