"""Files that say themselves what their functions require."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fal_core.cli.program import cli

TEXT = """\
# /// script
# dependencies = ["gamma"]
# ///
from fal_core import SCRIPT, function
from fal_testing import ProcessHost

host = ProcessHost()


@function(host=host)
def plain() -> str:
    import gamma

    return gamma.version


@function(requirements=[SCRIPT, "alpha-one<2"], host=host)
def more() -> str:
    import alpha_one
    import gamma

    return f"{gamma.version} {alpha_one.version}"


@function(requirements=["alpha-one"], host=host)
def others() -> bool:
    import importlib.util

    return importlib.util.find_spec("gamma") is None
"""


@pytest.fixture
def script(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the file in the working directory, which is imported anew."""
    name = f"script_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return f"{name}.py"


def invoke(*arguments: str) -> str:
    answer = CliRunner().invoke(cli, [*arguments])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_block_counts_by_itself_under_run(script: str) -> None:
    """A function that declares no requirements has those of its file; one that does has its own."""
    for name, expected in (("plain", "'3.1'"), ("more", "'3.1 1.0'"), ("others", "True")):
        assert invoke("run", f"{script}::{name}").strip() == expected
    shown = json.loads(invoke("explain", f"{script}::plain", "--json"))
    assert script in json.dumps(shown)


def test_lock_of_a_function_is_named_by_default(script: str) -> None:
    """``env lock`` writes a ``pylock.toml`` with hashes, which requirements may name."""
    said = invoke("env", "lock", f"{script}::more")
    assert said.strip().endswith("Wrote pylock.toml.")
    text = Path("pylock.toml").read_text()
    assert text.count("[[packages]]") == text.count("sha256") == 2
    assert 'name = "alpha-one"' in text
