"""
Pythons that version managers keep.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.errors import UnknownNameError
from fal_env_virtualenv.building.interpreters import find_python


def test_python_of_a_version_manager(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_python: str
) -> None:
    """
    A Python is found in the directory of its version manager; no shim is run.
    """
    real = find_python(other_python, str(cache))
    shims, programs = tmp_path / "pyenv/shims", tmp_path / f"pyenv/versions/{real.version}/bin"
    for directory in (shims, programs):
        directory.mkdir(parents=True)
    (programs / "python").symlink_to(real.executable)
    shim = shims / f"python{other_python}"
    shim.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(shims))
    assert find_python(other_python, str(tmp_path)) == real
    with pytest.raises(UnknownNameError) as caught:
        find_python("3.2", str(tmp_path))
    assert real.version in caught.value.known
    assert not (tmp_path / "was-run").exists()
