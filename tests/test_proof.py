"""Which proof a test belongs to, what a change asks for, and what came of the steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from proof import changes  # noqa: E402  # the path comes first
from proof.__main__ import (  # noqa: E402  # the path comes first
    OVERRUN,
    PLACES,
    Part,
    choose,
    count,
)
from proof.belonging import Table, read_table  # noqa: E402  # the path comes first
from proof.steps import STEPS, Step  # noqa: E402  # the path comes first
from proof.warm import MANY, find_cold  # noqa: E402  # the path comes first

sys.path.remove(str(ROOT / "tests"))

TABLE = Table(
    short={"tests/together/test_a.py": "", "tests/together/test_b.py::test_one": ""},
    dear={"tests/test_c.py::test_long": "", "tests/test_d.py": ""},
)


@pytest.mark.parametrize(
    ("file", "function", "is_fault", "is_short"),
    [
        ("tests/test_c.py", "test_quick", False, True),
        ("tests/test_c.py", "test_quick", True, False),
        ("tests/test_c.py", "test_long", False, False),
        ("tests/test_d.py", "test_any", False, False),
        ("tests/together/test_a.py", "test_any", False, True),
        ("tests/together/test_a.py", "test_any", True, True),
        ("tests/together/test_b.py", "test_one", False, True),
        ("tests/together/test_b.py", "test_two", False, False),
        ("plugins/x/tests/together/test_e.py", "test_any", False, False),
    ],
)
def test_place_and_table_say_the_proof(
    file: str, function: str, is_fault: bool, is_short: bool
) -> None:
    """
    Scenarios and faults are left to the whole proof, but for those that the table names, and
    so are the others that it calls dear.
    """
    assert TABLE.is_short(file, function, is_fault=is_fault) is is_short
    assert TABLE.may_be_short(file) or not is_short


def test_the_table_names_tests_that_exist() -> None:
    """Every name of the table is a file, or a test in one, and stands there once."""
    table = read_table()
    missing = []
    for name in [*table.short, *table.dear]:
        file, _, function = name.partition("::")
        text = (ROOT / file).read_text("utf-8") if (ROOT / file).is_file() else ""
        is_law = function.startswith("test_") and "fal_testing.suite import *" in text
        defined = re.search(rf"^(async )?def {function}\(", text, re.MULTILINE)
        if not text or (function and not (defined or is_law)):
            missing.append(name)
    assert missing == []
    assert not table.short.keys() & table.dear.keys()
    rows = re.findall(
        r'^ {2}"(.+)",$', (ROOT / "tests/proof/table.toml").read_text("utf-8"), re.M
    )
    assert sorted(rows) == sorted(set(rows))


def test_the_table_says_scenarios_short_and_others_dear() -> None:
    """What the rule says anyway does not stand in the table."""
    table = read_table()
    assert [name for name in table.short if "/together/" not in name] == []
    assert [name for name in table.dear if "/together/" in name] == []


def test_a_changed_module_asks_for_its_tests() -> None:
    """The files that mirror a changed module are asked for, and those that import it."""
    assert changes.name_of("src/fal_core/sealing/opener.py") == "fal_core.sealing.opener"
    assert changes.name_of("plugins/fal-uv/src/fal_uv/fields.py") == "fal_uv.fields"
    assert changes.name_of("docs/index.md") is None
    mirrors = changes.mirrors_of(
        [
            "src/fal_core_worker/stream/streams.py",
            "plugins/fal-server/src/fal_server_agent/shells.py",
            "plugins/fal-uv/src/fal_uv/fields.py",
        ]
    )
    assert list(mirrors) == [
        str(ROOT / "tests/worker/stream/test_streams.py"),
        str(ROOT / "plugins/fal-server/tests/agent/test_shells.py"),
        str(ROOT / "plugins/fal-uv/tests/test_fields.py"),
    ]


def test_imports_are_found_however_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test file that imports a changed module is asked for, and no other."""
    folder = tmp_path / "tests"
    folder.mkdir()
    texts = {
        "test_whole.py": "import fal_core.sealing.opener\n",
        "test_name.py": "from fal_core.sealing.opener import Opener\n",
        "test_module.py": "if True:\n    from fal_core.sealing import (\n opener,\n )\n",
        "test_other.py": "from fal_core.sealing import openers\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(changes, "ROOT", tmp_path)
    changed = frozenset({"src/fal_core/sealing/opener.py", "tests/test_other.py"})
    monkeypatch.setattr(changes, "find_changes", lambda revision: changed)
    found = changes.find_tests.__wrapped__("any")
    assert sorted(path.name for path in found) == sorted(texts)
    monkeypatch.setattr(
        changes, "find_changes", lambda revision: changed - {"tests/test_other.py"}
    )
    found = changes.find_tests.__wrapped__("any")
    assert sorted(path.name for path in found) == [
        "test_module.py",
        "test_name.py",
        "test_whole.py",
    ]


def test_each_step_has_its_day() -> None:
    """
    In seven days each step is run at least once, even where nothing has changed, but for those
    that are left to runs of everything.
    """
    chosen = [step for day in range(7) for step in choose(STEPS, frozenset(), day)]
    left = {step.name for step in STEPS} - {step.name for step in chosen}
    assert left == {"pages followed", "a cluster under kills", "the short proof"}
    assert left == {step.name for step in STEPS if step.is_whole}
    [first, *_] = STEPS
    assert chosen.count(first) == 7
    for day in range(7):
        changed = choose(STEPS, frozenset({"plugins/fal-serve/README.md"}), day)
        assert {"FastAPI's tests", "alone: serve and serverless"} <= {
            step.name for step in changed
        }


def test_steps_share_out_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each step that can be divided has its part of the time that is left, and one that cannot is
    left out where it would take longer.
    """
    monkeypatch.setattr("proof.__main__.time.time", lambda: 1000.0)
    long, short = (
        Step(name="", command=[""], usual=each, is_dividable=True) for each in (9, 1)
    )
    whole = Step(name="", command=[""], usual=11)
    part = Part(revision="abc", day=3, until=1000.0 + 600, left=20)
    told = part.take(long)
    assert told is not None
    assert float(told.pop("FAL_CORE_UNTIL")) == 1000 + 60 * (PLACES * 10 * 9 / 20 - OVERRUN)
    assert told == {"FAL_CORE_CHANGED_SINCE": "abc", "FAL_CORE_SHARE": "3/7"}
    assert part.take(whole) is None
    # All that is left is for the last.
    told = part.take(short)
    assert told is not None
    assert float(told["FAL_CORE_UNTIL"]) == 1000 + 60 * (10 - OVERRUN)
    # On its day a step has all of its files.
    lowest = next(step for step in STEPS if step.name == "lowest versions")
    today = Part(revision="abc", day=STEPS.index(lowest) % 7, until=1000.0 + 600, left=20)
    told = today.take(lowest)
    assert told is not None
    assert "FAL_CORE_SHARE" not in told
    late = Part(revision="abc", day=3, until=1000.0, left=20)
    assert late.take(short) is None


def test_files_are_cold_where_nothing_is_kept_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test file is cold until pytest has kept what it makes of it for this Python."""
    folder = tmp_path / "plugins/fal-x/tests/deeper"
    folder.mkdir(parents=True)
    for name in ("test_a.py", "test_ab.py", "conftest.py"):
        (folder / name).write_text("")
    monkeypatch.setattr("proof.warm.ROOT", tmp_path)
    assert sorted(find_cold()) == [folder / "test_a.py", folder / "test_ab.py"]
    kept = folder / f"__pycache__/test_a.{sys.implementation.cache_tag}-pytest-8.4.1.pyc"
    kept.parent.mkdir()
    kept.write_bytes(b"")
    assert find_cold() == [folder / "test_ab.py"]
    assert len(list(ROOT.glob("tests/**/test_*.py"))) > MANY


def test_counts_are_those_of_all_runs_of_a_step() -> None:
    """A step that runs pytest more than once has the sums."""
    output = (
        "==== 2 failed, 3 passed, 1 skipped, 1 error in 4.20s ====\n"
        "other words\n"
        "======= 10 passed, 2 warnings in 61.00s (0:01:01) =======\n"
    )
    assert count(output) == {"failed": 2, "passed": 13, "skipped": 1, "error": 1}
    assert count("nothing was run") == {}


def test_nothing_begins_after_the_time(tmp_path: Path) -> None:
    """
    Tests that have not begun in time are skipped, by processes that share them too; runs inside
    of tests know of no such time.
    """
    (tmp_path / "conftest.py").write_text(f"exec(open({str(ROOT / 'conftest.py')!r}).read())")
    inner = "import os; assert 'FAL_CORE_UNTIL' not in os.environ"
    (tmp_path / "test_any.py").write_text(f"def test_any():\n    {inner}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull]
    inherited = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    for seconds, end in (("1", "1 skipped"), ("99999999999", "1 passed")):
        done = subprocess.run(
            [*command, "-n", "1", str(tmp_path)],
            capture_output=True,
            text=True,
            env={**inherited, "FAL_CORE_UNTIL": seconds},
        )
        assert end in done.stdout, done.stdout + done.stderr
