"""Mounts: what of this machine a container sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_container.running.mounts import Mount


def test_volume_with_the_name_of_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A name without a slash is that of a volume of the engine, which would be made empty. Where
    a folder here is called so, it was probably meant.
    """
    monkeypatch.chdir(tmp_path)
    volume = Mount.parse("models:/models:ro")
    assert volume.found() == volume
    (tmp_path / "models").mkdir()
    with pytest.raises(
        EnvironmentBuildError, match=r"Write '\./models:/models' for the folder"
    ):
        volume.found()
    folder = Mount.parse("./models:/models:ro").found()
    assert folder.option == f"--volume={tmp_path}/models:/models:ro"
