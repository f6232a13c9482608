"""The stand-in for fal-core in environments that do not have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_module_that_declares_isolated_functions(
    bare_worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that declares isolated functions is imported and runs in a worker without fal-core."""
    (tmp_path / "declares.py").write_text(
        "from fal_core import FalCoreError, Options, cached, function\n"
        "class Own(FalCoreError): pass\n"
        "@function('virtualenv', requirements=['numpy'])\n"
        "def inner(x): return x + 1\n"
        "@cached\n"
        "def kept(): return 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def use() -> Any:
        import declares

        return declares.inner.run_local(1), declares.kept()

    def call() -> Any:
        import declares

        return declares.inner(1)

    assert bare_worker(use, ()) == [(2, 5)]
    (error,) = bare_worker(call, ())
    assert isinstance(error, RuntimeError)
    assert "'inner' was declared in a worker" in str(error)
