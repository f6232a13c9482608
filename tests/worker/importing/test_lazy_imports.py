"""What ``lazy import`` of Python 3.15 binds, taken apart."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from fal_core_worker.importing.finding import find
from fal_core_worker.importing.lazy_imports import parts_of

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="Python has no lazy imports")

#: Each statement, the name that it binds, and its parts.
FORMS = {
    "import absent": ("absent", ("absent", (), None)),
    "import absent as other": ("other", ("absent", (), None)),
    "import absent.below.deep": ("absent", ("absent", ("absent.below.deep",), None)),
    "import absent.below as other": ("other", ("absent", (), "below")),
    "import absent.below.deep as other": ("other", ("absent.below", (), "deep")),
    "from absent import below": ("below", ("absent", (), "below")),
    "from absent import below as other": ("other", ("absent", (), "below")),
    "from absent.below import deep, more": ("more", ("absent.below", (), "more")),
}


@pytest.mark.parametrize("statement", FORMS)
def test_every_form(statement: str) -> None:
    """Each form tells its parts, and nothing is imported."""
    name, parts = FORMS[statement]
    space: dict[str, Any] = {}
    exec(f"lazy {statement}", space)
    assert parts_of(space[name]) == parts


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("import xml.sax.handler", "xml"),
        ("import xml.sax.handler as other", "other"),
        ("import os.path as other", "other"),
        ("from xml.sax.handler import ContentHandler", "ContentHandler"),
    ],
)
def test_the_parts_find_what_it_becomes(
    statement: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the parts name is what the first use would give."""
    # Python takes a member of a module that is loaded at once.
    monkeypatch.delitem(sys.modules, "xml.sax.handler", raising=False)
    space: dict[str, Any] = {}
    exec(f"lazy {statement}", space)
    plain: dict[str, Any] = {}
    exec(statement, plain)
    assert find(parts_of(space[name])) is plain[name]
