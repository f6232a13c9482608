"""Secrets: values that are set for an account, and reach the application as variables."""

from __future__ import annotations

import hashlib
import os

import fal_compat as fal


class Confidential(fal.App, keep_alive=300):
    machine_type = "S"
    app_auth = "private"
    secrets = ["MODEL_TOKEN"]

    def setup(self):
        self.token = os.environ["MODEL_TOKEN"]

    @fal.endpoint("/")
    def prove(self) -> dict[str, str]:
        # The value itself is never answered.
        return {"digest": hashlib.sha256(self.token.encode()).hexdigest()}
