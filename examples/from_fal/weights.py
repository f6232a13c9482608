"""Weights: a model and a repository are downloaded once, and are there for the next runner."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fal_compat as fal

WEIGHTS_URL = os.environ.get("WEIGHTS_URL", "https://huggingface.co/gpt2/raw/main/config.json")
REPOSITORY_URL = os.environ.get("REPOSITORY_URL", "https://github.com/karpathy/minGPT.git")


class Weights(fal.App, keep_alive=300):
    machine_type = "S"
    startup_timeout = 600

    def setup(self):
        self.weights = fal.toolkit.download_model_weights(WEIGHTS_URL)
        self.file = fal.toolkit.download_file(
            WEIGHTS_URL, fal.toolkit.FAL_PERSISTENT_DIR / "configurations"
        )
        self.repository = fal.toolkit.clone_repository(
            REPOSITORY_URL, repo_name="the-model", include_to_path=True
        )
        self.store = fal.toolkit.KVStore("weights")

    @fal.endpoint("/")
    def look(self) -> dict[str, str]:
        assert str(self.repository) in sys.path
        return {
            "weights": self.weights.read_text(),
            "file": self.file.name,
            "folder": self.file.parent.name,
            "repository": " ".join(
                sorted(each.name for each in Path(self.repository).iterdir())
            ),
        }

    @fal.endpoint("/missing")
    def missing(self) -> dict[str, str]:
        try:
            fal.toolkit.download_model_weights(f"{WEIGHTS_URL}.missing")
        except fal.toolkit.DownloadError as error:
            return {"error": str(error)}
        return {"error": ""}

    @fal.endpoint("/remember")
    def remember(self, key: str, value: str) -> dict[str, str | None]:
        self.store.set(key, value, ttl=3600)
        found = self.store.get(key)
        self.store.delete(key)
        return {"found": found, "then": self.store.get(key)}
