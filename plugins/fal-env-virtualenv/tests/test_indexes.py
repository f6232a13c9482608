"""
Where packages come from, records that say what came, and what doctor checks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_env_virtualenv import fal_health_checks, records, tools
from fal_env_virtualenv.credentials import mask, without
from fal_env_virtualenv.indexes import find_indexes
from fal_env_virtualenv.pythons import Python
from fal_env_virtualenv.records import Record


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """
    No variable and no file says anything of indexes.
    """
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    return tmp_path


@pytest.fixture
def uv_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """
    Have a script of the shell found as uv.
    """

    def write(text: str) -> Path:
        path = tmp_path / "bin" / "uv"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setitem(sys.modules, "uv", None)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
        return path

    return write


@pytest.mark.usefixtures("clean")
class TestIndexes:
    def test_uv_tells_the_index_it_has_by_default(self, tmp_path: Path) -> None:
        """
        uv may keep what its own index answers, whichever that is; a key needs not know.
        """
        indexes = find_indexes()
        assert indexes.default is None
        assert indexes.config is None
        told = indexes.with_default(str(tmp_path))
        assert told.variables == {}
        assert told.default is not None
        assert told.default.startswith("https://")
        assert told.config is not None
        assert f'url = "{told.default}"' in told.config

    def test_uv_is_asked_once(self, clean: Path, uv_script: Callable[[str], Path]) -> None:
        """
        The index of a uv is kept until it is another uv.
        """
        (real,) = tools.uv_command()
        path = uv_script(f'echo >>{clean}/asked\nexec {real} "$@"')
        first, second = (find_indexes().with_default(str(clean)) for _ in range(2))
        assert first == second
        assert first.default is not None
        assert (clean / "asked").read_text() == "\n"
        path.write_text("#!/bin/sh\necho --index-url https://host/simple\n")
        assert find_indexes().with_default(str(clean)).default == "https://host/simple"

    @pytest.mark.parametrize("script", ["exit 2", "echo", "echo --index-url; exit 0"])
    def test_uv_that_does_not_tell(
        self, clean: Path, uv_script: Callable[[str], Path], script: str
    ) -> None:
        """
        Where uv does not tell its index, what that index says itself counts.
        """
        uv_script(script)
        assert find_indexes().with_default(str(clean)).config is None

    @pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "PIP_INDEX_URL"])
    def test_named_index_is_not_asked_for(
        self,
        clean: Path,
        uv_script: Callable[[str], Path],
        monkeypatch: pytest.MonkeyPatch,
        name: str,
    ) -> None:
        """
        An index that a variable names is the first one, and uv is not asked.
        """
        uv_script(f"touch {clean}/asked")
        monkeypatch.setenv(name, "https://host/simple")
        indexes = find_indexes().with_default(str(clean))
        assert indexes.default == "https://host/simple"
        assert not (clean / "asked").exists()

    def test_password_is_not_written_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        An address with a password stays in a variable.
        """
        monkeypatch.setenv("UV_INDEX_URL", "https://me:hunter2@host/simple")
        indexes = find_indexes(["https://you:swordfish@host/simple"])
        assert indexes.config is None
        assert indexes.variables["UV_DEFAULT_INDEX"] == "https://me:hunter2@host/simple"
        assert indexes.variables["UV_INDEX"] == "https://you:swordfish@host/simple"
        assert "hunter2" not in repr(indexes.fingerprint())
        assert "swordfish" not in repr(indexes.fingerprint())

    def test_configuration_of_the_user_counts(self, clean: Path) -> None:
        """
        A ``uv.toml`` of the user is used as it is, and tells indexes apart.
        """
        before = find_indexes().fingerprint()
        path = clean / "config" / "uv" / "uv.toml"
        path.parent.mkdir(parents=True)
        path.write_text('index-url = "https://host/simple"\n')
        indexes = find_indexes()
        assert indexes.configuration == (str(path),)
        assert indexes.config is None
        assert indexes.fingerprint() != before

    def test_links_of_pip_that_are_there(
        self, clean: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Directories that pip looks in count, unless they are not there.
        """
        monkeypatch.setenv("PIP_FIND_LINKS", f"{clean} {clean}/nowhere https://host/links")
        assert find_indexes().variables["UV_FIND_LINKS"] == f"{clean},https://host/links"


def test_certificates_and_proxies_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What names certificates and proxies reaches uv, and pip's certificates do too.
    """
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("PIP_CERT", "/certificates")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    variables = tools.uv_variables({"UV_INDEX": "https://host", "PIP_CERT": None})
    assert variables["HTTPS_PROXY"] == "http://proxy:3128"
    assert variables["SSL_CERT_FILE"] == "/certificates"
    assert variables["UV_INDEX"] == "https://host"
    assert "VIRTUAL_ENV" not in variables
    assert "PIP_CERT" not in variables


@pytest.mark.parametrize(
    ("text", "masked", "plain"),
    [
        ("https://me:pw@host/x", "https://***@host/x", "https://host/x"),
        (
            "x @ git+https://ghp_t@host/x@v1",
            "x @ git+https://***@host/x@v1",
            "x @ git+https://host/x@v1",
        ),
        ("git+ssh://git@host/x", "git+ssh://git@host/x", "git+ssh://git@host/x"),
        (
            "https://host/x?token=abc&y=1",
            "https://host/x?token=***&y=1",
            "https://host/x?token=&y=1",
        ),
        ("https://host/x@1.0", "https://host/x@1.0", "https://host/x@1.0"),
        ("mail me@host", "mail me@host", "mail me@host"),
    ],
)
def test_credentials_are_found(text: str, masked: str, plain: str) -> None:
    """
    Passwords and tokens in addresses are masked, or taken out; names are not.
    """
    assert (mask(text), without(text)) == (masked, plain)


texts = st.lists(st.text(max_size=20), max_size=4).map(tuple)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=50,
)
@given(
    layers=st.lists(texts, max_size=3).map(tuple),
    pins=texts,
    packages=texts,
    created=st.floats(0, 1e10),
    compiled=st.booleans(),
    indexes=texts,
)
def test_record_is_read_as_it_was_written(
    cache: Path,
    layers: tuple[tuple[str, ...], ...],
    pins: tuple[str, ...],
    packages: tuple[str, ...],
    created: float,
    compiled: bool,
    indexes: tuple[str, ...],
) -> None:
    """
    A record that is read again is equal, and so names the same directory.
    """
    record = Record(
        key="k",
        requirements=layers,
        python=Python(executable="/usr/bin/python3", version="3.11.7"),
        platform="linux",
        pins=pins,
        packages=packages,
        created=created,
        compile_bytecode=compiled,
        extra_index_urls=indexes,
    )
    records.write_record(record)
    again = records.read_record("k")
    assert again == record
    assert again.digest == record.digest


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 99}'])
def test_record_that_cannot_be_read_is_none(cache: Path, text: str) -> None:
    """
    A record that was damaged counts as not there.
    """
    path = Path(records.record_path("k"))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert records.read_record("k") is None


def test_checks_of_a_sound_machine(cache: Path) -> None:
    """
    Each check of this plugin finds this machine sound, and leaves nothing behind.
    """
    findings = {check.name: check.run() for check in fal_health_checks()}
    assert [name for name, finding in findings.items() if not finding.ok] == []
    assert list(cache.iterdir()) == []


def test_checks_say_what_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A check that fails says in a sentence how to put it right.
    """
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "file" / "x"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "uv", None)
    findings = {check.name: check.run() for check in fal_health_checks()}
    assert not any(finding.ok for finding in findings.values())
    assert "pip install uv" in findings["uv"].message
    assert "FAL_CORE_CACHE" in findings["cache directory"].message
