"""Blocks of imports, which are read and not run."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core_worker.importing.blocks import Block
from fal_core_worker.importing.references import ModuleReference

#: Runs the text of a module, and returns its namespace.
Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """
    Runs text as a module that has ``imports``, beside modules ``here_one``, ``here_two`` and
    the package ``here_pack``, which note that they are imported.
    """
    package = tmp_path / "here_pack"
    package.mkdir()
    (package / "__init__.py").write_text("level = 1\n")
    (package / "below.py").write_text("value = 2\n")
    (package / "other.py").write_text("value = 3\n")
    (tmp_path / "here_one.py").write_text("value = 1\nclass Thing: size = 4\n")
    (tmp_path / "here_two.py").write_text("import here_one\nvalue = here_one.value + 1\n")
    (tmp_path / "here_broken.py").write_text("import absent_inside\n")
    (tmp_path / "here_raising.py").write_text("raise RuntimeError('no driver')\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def execute(text: str) -> dict[str, Any]:
        space: dict[str, Any] = {"__name__": "written", "__package__": "", "imports": Block}
        exec(compile(text, str(tmp_path / "written.py"), "exec"), space)
        return space

    yield execute
    for name in set(sys.modules) - before:
        if name.startswith("here_"):
            del sys.modules[name]


def here(name: str = "here_") -> set[str]:
    return {each for each in sys.modules if each.startswith(name)}


FORMS = """
with imports():
    import here_one, here_two as two
    import here_pack.below
    import here_pack.other as other
    from here_pack import below, level as height
    from here_one import Thing
"""


def test_nothing_is_imported_until_it_is_used(run: Run) -> None:
    """A block imports none of its modules, and the first use of each puts it in its place."""
    space = run(FORMS)
    assert not here()
    assert space["two"].value == 2
    assert here() == {"here_one", "here_two"}
    assert space["two"] is sys.modules["here_two"]


def test_every_form_of_import(run: Run) -> None:
    """Each name stands for what the plain statement would bind to it."""
    space = run(FORMS)
    assert (space["here_one"].value, space["two"].value) == (1, 2)
    assert space["here_pack"].below.value == 2
    assert space["other"].value == 3
    assert space["below"].value == 2
    assert space["height"] + 1 == 2
    assert space["Thing"]().size == 4
    plain: dict[str, Any] = {}
    exec(FORMS.replace("with imports():", "if True:"), plain)
    names = [name for name in plain if name[:2] != "__"]
    assert {name: space[name] for name in names} == {name: plain[name] for name in names}


def test_submodules_share_their_package(run: Run) -> None:
    """Two imports below one package bind one name, which has both."""
    space = run("with imports():\n    import here_pack.below\n    import here_pack.other\n")
    package = space["here_pack"]
    assert (package.below.value, package.other.value) == (2, 3)


def test_what_is_loaded_is_bound_at_once(run: Run) -> None:
    """A module that this process has already is the real one, wherever it stands in the block."""
    import json

    space = run(
        "with imports():\n    import json\n    import here_one\n    import json as again\n"
        "    from json import dumps\n    from os import path\n"
    )
    assert space["json"] is json
    assert space["again"] is json
    assert space["dumps"] is json.dumps
    assert isinstance(space["here_one"], ModuleReference)
    assert type(space["path"]) is types.ModuleType


def test_relative_imports(run: Run, tmp_path: Path) -> None:
    """A relative import starts from the package of its file; without one it is an error."""
    (tmp_path / "here_pack" / "uses.py").write_text(
        "from fal_core_worker.importing.blocks import Block\n"
        "with Block():\n    from . import below\n    from .other import value\n"
    )
    space = run("import here_pack.uses as uses")
    assert "here_pack.below" not in sys.modules
    assert space["uses"].below.value == 2
    assert space["uses"].value + 0 == 3
    with pytest.raises(ImportError, match="no known parent package"):
        run("with imports():\n    from . import below\n")


def test_missing_modules_are_not_needed(run: Run) -> None:
    """A module that is not here is an error at its use alone, of the type of a failed import."""
    space = run(
        "with imports():\n    import absent_one.below\n    from absent_two import name\n"
    )
    for use in (lambda: space["absent_one"].below, lambda: space["name"]()):
        with pytest.raises(ModuleNotFoundError, match="absent_"):
            use()
    assert not here("absent_")


@pytest.mark.parametrize(
    ("module", "error", "text"),
    [
        ("here_broken", ModuleNotFoundError, "absent_inside"),
        ("here_raising", RuntimeError, "no driver"),
    ],
)
def test_an_error_inside_an_import_is_itself(
    run: Run, module: str, error: type[Exception], text: str
) -> None:
    """A module that is there and fails as it is imported fails with its own error."""
    space = run(f"with imports():\n    import {module}\n    from {module} import value\n")
    for name in (module, "value"):
        with pytest.raises(error, match=text):
            space[name].anything  # noqa: B018, the use is what fails


def test_a_missing_member_is_that_of_an_import(run: Run) -> None:
    """A name that the module does not have is an error of importing it."""
    space = run("with imports():\n    from here_one import nothing\n")
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'here_one'"):
        space["nothing"]()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("from here_one import *", "names nothing that could be imported later"),
        ("import here_one; value = here_one.value", "Only imports may stand"),
        ("import here_one\n    print(1)", "Only imports may stand"),
        ("value = 1", "Only imports may stand"),
        ("if len: import here_one", "Only imports may stand"),
        ("def inner(): pass", "Only imports may stand"),
        ("try: import here_one\n    except ImportError: pass", "Only imports may stand"),
    ],
)
def test_only_imports_stand_in_a_block(run: Run, body: str, sentence: str) -> None:
    """A star, and anything but imports, is refused where it stands before anything is imported."""
    with pytest.raises(SyntaxError, match=sentence) as caught:
        run(f"\nwith imports():\n    {body}\n")
    assert caught.value.filename is not None
    assert caught.value.filename.endswith("written.py")
    assert caught.value.lineno in (3, 4)
    assert not here()
    assert not any(type(each).__name__ == "_Finder" for each in sys.meta_path[:1])


def test_a_block_stands_alone_at_the_top() -> None:
    """It is refused in a function, whose imports are made when it runs, and with ``as``."""
    with pytest.raises(SyntaxError, match="In a function, import as usual"), Block():
        import here_one  # noqa: F401  # it is refused before that
    space = {"imports": Block}
    with pytest.raises(SyntaxError, match="without `as`"):
        exec("with imports() as block:\n    import here_one\n", space)


def test_a_block_in_another_statement(run: Run) -> None:
    """A block may stand in a condition, in a ``try`` or in another ``with`` at the top."""
    space = run(
        "import contextlib\n"
        "try:\n    with imports():\n        import here_one\n"
        "except ImportError:\n    here_one = None\n"
        "with contextlib.suppress(ImportError):\n"
        "    if imports:\n        with imports():\n            import here_two as two\n"
        "        done = True\n"
    )
    assert not here()
    assert (space["here_one"].value, space["two"].value, space["done"]) == (1, 2, True)


def test_empty_blocks_and_classes(run: Run) -> None:
    """A block may be empty, and a class may have one."""
    space = run(
        "with imports(): pass\nclass Tools:\n    with imports():\n        import here_one\n"
    )
    assert not here()
    assert space["Tools"].here_one.value == 1


def test_a_finder_leaves_with_its_block(run: Run) -> None:
    """Whatever a block has in it, the finders of Python are those from before it."""
    before = list(sys.meta_path)
    run(FORMS)
    run("with imports():\n    import sys\n")
    assert sys.meta_path == before


def test_other_imports_pass_by(run: Run, tmp_path: Path) -> None:
    """
    While a block runs, what another thread imports is imported, and so is what an import of the
    block itself leads to.
    """
    (tmp_path / "here_waiting.py").write_text(
        "import threading\n"
        "found = []\n"
        "def elsewhere():\n"
        "    import here_pack\n"
        "    found.append(here_pack)\n"
        "def __getattr__(name):\n"
        "    if name != 'thing': raise AttributeError(name)\n"
        "    thread = threading.Thread(target=elsewhere)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    import here_two\n"
        "    return [*found, here_two]\n"
    )
    space = run(
        "import here_waiting\n"
        "with imports():\n    from here_waiting import thing\n    import here_raising\n"
    )
    assert [each.__name__ for each in space["thing"]] == ["here_pack", "here_two"]
    assert {type(each) for each in space["thing"]} == {types.ModuleType}
    assert isinstance(space["here_raising"], ModuleReference)
