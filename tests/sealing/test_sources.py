"""Which source travels with a function."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import OptionError, OptionTypeError
from fal_core.sealing.sources import (
    SourceArchive,
    archived_files,
    archives,
    local_modules,
    worker_archive,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A project of a package and a module beside it; gives the module ``shop.tasks``."""
    files = {
        "shop/__init__.py": "from .models import Model\n",
        "shop/models.py": "import json\nfrom .deep.core import Core\nclass Model: pass\n",
        "shop/deep/__init__.py": "",
        "shop/deep/core.py": "class Core: pass\n",
        "shop/deep/words.txt": "words\n",
        "shop/deep/unused.py": "raise SystemError\n",
        "shop/tasks.py": (
            "import attrs\nfrom .models import Model\n"
            "def task():\n    import beside\n    return beside.VALUE, Model\n"
        ),
        "beside.py": "raise SystemError('it must not be imported')\nVALUE = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop.tasks")
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def local_archives(func: Any, named: Any = ()) -> tuple[SourceArchive, ...]:
    """Return the archives of the local modules that *func* needs."""
    return archives(archived_files(local_modules(func, named), named))


def names_in(archive: SourceArchive) -> list[str]:
    """Return the names of the files of an archive."""
    return zipfile.ZipFile(io.BytesIO(archive.data)).namelist()


def test_imports_are_followed_without_running_them(project: Any) -> None:
    """Local modules are found through imports in any place, with their packages."""
    assert sorted(local_modules(project.task)) == [
        "beside",
        "shop",
        "shop.deep",
        "shop.deep.core",
        "shop.models",
    ]


def test_archives_hold_the_modules_that_were_found(project: Any) -> None:
    """There is an archive for each top-level module, of source alone."""
    beside, shop = local_archives(project.task)

    assert names_in(beside) == ["beside.py"]
    assert names_in(shop) == [
        "shop/__init__.py",
        "shop/deep/__init__.py",
        "shop/deep/core.py",
        "shop/models.py",
    ]


def test_named_packages_travel_whole(project: Any) -> None:
    """A package that was named travels with all its source and small data files."""
    _, shop = local_archives(project.task, ["shop.deep"])

    assert {"shop/deep/unused.py", "shop/deep/words.txt"} < set(names_in(shop))


def test_archives_are_deterministic(project: Any, tmp_path: Path) -> None:
    """The same source has the same digest whenever it is archived, other source another."""
    before = local_archives(project.task)
    (tmp_path / "beside.py").touch()
    assert local_archives(project.task) == before
    (tmp_path / "beside.py").write_text("VALUE = 2\n")
    assert local_archives(project.task)[0].digest != before[0].digest
    assert local_archives(project.task)[1] == before[1]


@pytest.mark.parametrize("wrong", ["shop", {"shop"}, [1], ["shop", None]])
def test_local_python_modules_must_be_names(project: Any, wrong: Any) -> None:
    """A value that is not a list of names is refused, and the error names the option."""
    with pytest.raises(OptionTypeError, match="local_python_modules"):
        local_archives(project.task, wrong)


def test_named_module_must_exist(project: Any) -> None:
    """A name that is not a module is refused, and the error says which."""
    with pytest.raises(OptionError, match=r"'shop\.gone'"):
        local_archives(project.task, ["shop.gone"])


def test_worker_archive_has_the_worker_and_the_pickler() -> None:
    """The worker's archive holds its package and the cloudpickle that sealed, alone."""
    names = names_in(worker_archive())

    assert {"fal_core_worker/opening/values.py", "cloudpickle/cloudpickle.py"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {"fal_core_worker", "cloudpickle"}


@pytest.fixture
def made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no archive of the worker in this process."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    worker_archive.cache_clear()
    yield tmp_path / "cache" / "archives"
    worker_archive.cache_clear()


def test_worker_archive_is_made_once_for_all_processes(
    made_anew: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that one process has made is read by the next one, not made again."""
    made = worker_archive()
    assert len(list(made_anew.iterdir())) == 1
    worker_archive.cache_clear()
    monkeypatch.setitem(sys.modules, "zipfile", None)
    assert worker_archive() == made


@pytest.mark.parametrize("left", [b"", b"x" * 30, b"x" * 5000])
def test_damaged_worker_archive_is_made_anew(made_anew: Path, left: bytes) -> None:
    """A kept archive that is not whole is not sent, and is replaced."""
    made = worker_archive()
    (kept,) = made_anew.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(left)
    worker_archive.cache_clear()
    assert worker_archive() == made
    assert kept.read_bytes() == whole


def test_worker_archive_needs_no_cache(made_anew: Path) -> None:
    """If the cache cannot be written, the archive is made for this process alone."""
    made_anew.parent.write_text("no directory")
    assert "fal_core_worker/main.py" in names_in(worker_archive())
    assert made_anew.parent.read_text() == "no directory"
