"""A life: a model is loaded before the first request, and let go after the last one."""

from __future__ import annotations

import os
from pathlib import Path

import fal_compat as fal


class Model:
    def __init__(self) -> None:
        self.closed = False
        self.journal: Path | None = None

    def note(self, event: str) -> None:
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.write(f"{event}\n")


class Lifecycle(fal.App, keep_alive=300, termination_grace_period_seconds=20):
    machine_type = "S"
    startup_timeout = 120

    async def setup(self):
        self.model = Model()
        self.states = [os.environ["FAL_RUNNER_STATE"]]

    @fal.endpoint("/")
    def journal(self, path: str) -> dict[str, list[str]]:
        self.model.journal = Path(path)
        self.model.note("answered")
        return {"states": [*self.states, os.environ["FAL_RUNNER_STATE"]]}

    def handle_exit(self):
        self.model.note("asked to end")

    def teardown(self):
        self.model.note("let go")
