"""Compiled kernels that runners keep for each other."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from fal_serve.media.compilation import (
    get_gpu_type,
    load_inductor_cache,
    sync_inductor_cache,
    synchronized_inductor_cache,
)


@pytest.fixture
def local(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PyTorch of this machine keeps its kernels."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / f"inductor-cache-{os.getuid()}"


def test_gpu_type(local: Path, tmp_path: Path):
    """The type is the model of the GPU that the driver tells."""
    assert get_gpu_type() == "UNKNOWN"
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3'\n")
    program.chmod(0o755)
    assert get_gpu_type() == "H100"


def test_kernels_are_kept(local: Path, data: Path):
    """
    What is compiled meanwhile is there for the next runner, and is kept again only if it has
    changed; a key that is none is refused.
    """
    with synchronized_inductor_cache("model/v1"):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(local)
        local.mkdir()
        (local / "kernel").write_text("compiled")
    kept = data / "inductor-caches" / "UNKNOWN" / "model" / "v1.zip"
    first = kept.stat().st_mtime_ns
    (local / "kernel").unlink()
    unpacked = load_inductor_cache("model/v1")
    assert (local / "kernel").read_text() == "compiled"
    sync_inductor_cache("model/v1", unpacked)
    assert kept.stat().st_mtime_ns == first
    (local / "other").write_text("compiled")
    sync_inductor_cache("model/v1", unpacked)
    assert [each.name for each in kept.parent.iterdir()] == ["v1.zip"]
    assert kept.stat().st_mtime_ns != first
    kept.write_bytes(b"broken")
    assert load_inductor_cache("model/v1") == ""
    for key in ("../out", "/etc", ""):
        with pytest.raises(ValueError, match="is no key of a cache"):
            load_inductor_cache(key)
