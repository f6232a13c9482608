"""What editors know of options."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _needed in ("mypy", "pyright", "fal_serve", "fal_env_virtualenv"):
    pytest.importorskip(_needed)

sys.path.insert(0, str(Path(__file__).parent))

from language_servers import LanguageServer  # noqa: E402  # the path comes first


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    """The language server that an editor starts in a folder."""
    with LanguageServer(tmp_path_factory.mktemp("project")) as server:
        yield server


DECLARED = """
from fal_core import Executor, function
from fal_serve import App

@function("current")
def embed(text: str) -> int:
    return len(text)

"""


@pytest.mark.parametrize(
    "written",
    [
        'function("virtualenv", {}|)',
        "function({}|)",
        'Executor("virtualenv", {}|)',
        "embed.on({}|)",
        'embed.on("local", {}|)',
        "App.to_function({}|)",
        'App.spawn("local", {}|)',
    ],
)
def test_editors_complete_options(server: LanguageServer, written: str) -> None:
    """An editor offers each option of which the beginning is written, as a keyword."""
    offered = {
        option: server.complete(DECLARED + written.format(option[:3]))
        for option in ("requirements", "machine_type", "keep_alive")
    }
    found = [option for option in offered if f"{option}=" in offered[option]]
    assert found == list(offered), offered


def test_editors_complete_attributes(server: LanguageServer) -> None:
    """An editor offers options as attributes of an application too."""
    written = "class Reader(App):\n    {}|"
    for option in ("requirements", "machine_type", "keep_alive"):
        assert option in server.complete(DECLARED + written.format(option[:3]))


@pytest.mark.parametrize(
    "written",
    [
        'function("virtualenv", keep|_alive=3)',
        'Executor("virtualenv", keep|_alive=3)',
        "embed.on(keep|_alive=3)",
        "App.spawn(keep|_alive=3)",
    ],
)
def test_editors_explain_options(server: LanguageServer, written: str) -> None:
    """An editor shows what an option is, where it is written."""
    shown = server.explain(DECLARED + written)
    assert "keep_alive: float | None" in shown
    assert "How many seconds a worker stays warm without a call." in shown


@pytest.mark.parametrize(
    "written",
    [
        'function("virtualenv", index|_url="https://example.org")',
        'Executor("virtualenv", index|_url="https://example.org")',
    ],
)
def test_editors_explain_options_of_packages(server: LanguageServer, written: str) -> None:
    """What kinds have in common is explained for each of them."""
    shown = server.explain(DECLARED + written)
    assert "index_url: str | None" in shown
    assert "The index in place of the usual default one." in shown


@pytest.mark.parametrize(
    ("kind", "option"),
    [("conda", "packages"), ("container", "image"), ("virtualenv", "resolver")],
)
def test_editors_complete_options_of_kinds(
    server: LanguageServer, kind: str, option: str
) -> None:
    """An editor offers the options of a kind."""
    written = f'function("{kind}", {option[:3]}|)'
    assert f"{option}=" in server.complete(DECLARED + written)
