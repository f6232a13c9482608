"""Finding uv, and the variables that it is started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_uv.running import uv


def test_certificates_and_proxies_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv gets the variables for certificates and proxies, and those of pip for certificates."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("PIP_CERT", "/certificates")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    variables = uv.uv_variables({"UV_INDEX": "https://host", "PIP_CERT": None})
    assert variables["HTTPS_PROXY"] == "http://proxy:3128"
    assert variables["SSL_CERT_FILE"] == "/certificates"
    assert variables["UV_INDEX"] == "https://host"
    assert "VIRTUAL_ENV" not in variables
    assert "PIP_CERT" not in variables


def test_uv_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If uv is not installed, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentBuildError, match="pip install uv"):
        uv.uv_command()
