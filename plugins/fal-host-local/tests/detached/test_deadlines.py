"""The limits of detached work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core import Timeout, attach
from fal_host_local import LocalHost


@pytest.mark.parametrize("option", ["timeout", "request_timeout"])
def test_detached_work_keeps_its_timeout_when_its_client_is_gone(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
    host: LocalHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
):
    """Detached work that exceeds its timeout is ended, and attaching to it raises the reason."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    done = run_script(
        f"""
        import time
        from fal_core import function

        @function("current", {option}=1.5, lifetime="detached")
        def wait(seconds):
            time.sleep(seconds)

        print(wait.spawn(120).reference)
        """,
    )
    assert done.returncode == 0, done.stderr

    info = attach(host, done.stdout.strip())

    assert info.future is not None
    error = info.future.exception(60)
    assert isinstance(error, Timeout)
    assert error.seconds == 1.5
