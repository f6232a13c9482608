"""What type checkers know of options is what the classes of kinds and hosts have."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

from fal_core.conversion.annotations import option_names
from fal_core.keywords import AnyKeywords, FunctionKeywords
from fal_core.keywords import kinds as keywords_of_kinds
from fal_core.plugins import load_plugins

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from house.imports import find_packages  # noqa: E402  # the path comes first
from house.keywords import FOLDER, KINDS, write  # noqa: E402  # the path comes first

sys.path.remove(str(ROOT / "tests"))

OURS = set(find_packages())


def ours(classes: typing.Iterable[type]) -> list[type]:
    return [each for each in classes if each.__module__.partition(".")[0] in OURS]


def test_the_modules_are_written_of_the_classes() -> None:
    """The keywords are those that ``python3 dev.py keywords`` writes today."""
    for name, text in write().items():
        path = FOLDER / f"{name}.py"
        assert path.read_text("utf-8") == text, "Run 'python3 dev.py keywords'."


def test_every_kind_has_its_options() -> None:
    """
    Each option of each kind of this repository is a keyword of ``function`` with that kind,
    and of ``on``.
    """
    kinds = {each.kind: each for each in ours(load_plugins().environments.values())}
    assert set(kinds) == set(KINDS)
    for kind, cls in kinds.items():
        keywords = getattr(keywords_of_kinds, f"{kind.title()}Keywords").__annotations__
        beside = {"image"} if kind == "container" else set()
        assert {*option_names(cls)} <= {*keywords, *beside}
        assert {*option_names(cls)} <= {*AnyKeywords.__annotations__}


def test_every_host_has_its_options() -> None:
    """Each option of each host of this repository is a keyword, whatever the kind."""
    for host in ours(load_plugins().hosts.values()):
        if isinstance(host.options, type):
            names = {*option_names(host.options)}
            assert names <= {*typing.get_type_hints(FunctionKeywords)}
