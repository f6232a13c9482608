"""Package indexes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_uv.installing.indexes import find_indexes
from fal_uv.running import uv


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable and no file names an index."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    return tmp_path


@pytest.fixture
def uv_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that has a shell script found as uv."""

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
    def test_default_index_of_uv_is_found(self, tmp_path: Path) -> None:
        """Without an index that is named, uv says which one it uses; only a build asks it."""
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
        """uv's answer is kept until uv changes."""
        (real,) = uv.uv_command()
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
        """If uv does not say which index it uses, there is no configuration file for it."""
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
        """An index that a variable names is the default, and uv is not asked."""
        uv_script(f"touch {clean}/asked")
        monkeypatch.setenv(name, "https://host/simple")
        indexes = find_indexes().with_default(str(clean))
        assert indexes.default == "https://host/simple"
        assert not (clean / "asked").exists()

    def test_password_is_not_written_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A URL with a password stays in a variable, and is written to no file."""
        monkeypatch.setenv("UV_INDEX_URL", "https://me:hunter2@host/simple")
        indexes = find_indexes(["https://you:swordfish@host/simple"])
        assert indexes.config is None
        assert indexes.variables["UV_DEFAULT_INDEX"] == "https://me:hunter2@host/simple"
        assert indexes.variables["UV_INDEX"] == "https://you:swordfish@host/simple"
        assert "hunter2" not in repr(indexes.fingerprint())
        assert "swordfish" not in repr(indexes.fingerprint())

    def test_configuration_of_the_user_counts(self, clean: Path) -> None:
        """A ``uv.toml`` of the user is used as it is, and is part of the fingerprint."""
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
        """Directories that pip looks in are passed to uv if they exist."""
        monkeypatch.setenv("PIP_FIND_LINKS", f"{clean} {clean}/nowhere https://host/links")
        assert find_indexes().variables["UV_FIND_LINKS"] == f"{clean},https://host/links"

    @pytest.mark.parametrize(
        ("variables", "is_without"),
        [
            ({"UV_NO_INDEX": "1", "UV_DEFAULT_INDEX": "https://host/simple"}, True),
            ({"UV_NO_INDEX": "false", "PIP_INDEX_URL": "https://host/simple"}, False),
            ({"PIP_NO_INDEX": "yes", "PIP_INDEX_URL": "https://host/simple"}, True),
            ({"PIP_NO_INDEX": "yes", "UV_INDEX_URL": "https://host/simple"}, False),
        ],
    )
    def test_no_index(
        self,
        clean: Path,
        monkeypatch: pytest.MonkeyPatch,
        variables: dict[str, str],
        is_without: bool,
    ) -> None:
        """A variable may say that there is no index. uv does not read it, and is told."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        indexes = find_indexes().with_default(str(clean))
        assert indexes.options == (("--no-index",) if is_without else ())
        assert indexes.default == (None if is_without else "https://host/simple")

    def test_offline_is_no_other_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a network the same environment is meant."""
        online = find_indexes()
        assert find_indexes(offline=True).variables["UV_OFFLINE"] == "1"
        monkeypatch.setenv("UV_OFFLINE", "1")
        assert find_indexes().offline
        assert find_indexes().fingerprint() == online.fingerprint()


@pytest.mark.parametrize(
    "where", ["a variable", "a netrc", "the store of uv", "an extra index"]
)
def test_credentials_are_terms_and_no_fingerprint(
    clean: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Who has other credentials asks the same indexes on other terms."""
    monkeypatch.setenv("HOME", str(clean))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("UV_INDEX_URL", "https://me:first@host/simple")
    extra = "https://me:first@other/simple"
    before = find_indexes([extra])
    assert find_indexes([extra]).terms() == before.terms()
    told = before.terms()
    if where == "a variable":
        monkeypatch.setenv("UV_INDEX_URL", "https://me:second@host/simple")
    elif where == "a netrc":
        (clean / ".netrc").write_text("machine host login me password second")
    elif where == "the store of uv":
        store = clean / ".local" / "share" / "uv" / "credentials"
        store.mkdir(parents=True)
        (store / "credentials.toml").write_text("second")
    else:
        extra = extra.replace("first", "second")
    after = find_indexes([extra])
    assert after.terms() != told
    assert after.fingerprint() == before.fingerprint()
