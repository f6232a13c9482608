"""Mutants: lines changed one at a time, and the tests that reach and kill them."""

from __future__ import annotations

import ast
import os
import random
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from mutating import judging  # noqa: E402  # the path comes first
from mutating.mutations import KINDS, Mutation, Source, choose_mutation  # noqa: E402
from mutating.probes import Span, add_probes, order_tests, read_reached  # noqa: E402
from mutating.sites import Site, choose_sites, find_statements  # noqa: E402
from mutating.trees import Tree, install_recorder  # noqa: E402

sys.path.remove(str(ROOT / "tests"))

MODULE = '''\
"""
A module.
"""
from __future__ import annotations  # ä

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    hidden = 1
T = TypeVar("T")
__all__ = ["size"]
declared: int
text = """ä
b"""; number = 3


def size(items, *, most=5):
    """Count."""
    total = 0
    for item in [*items]:
        if item is not None and (
            item  # in words
            < most
            or item == 9
        ):
            total += 1; seen = "ä"
        elif item in (7, 8): continue
    with open("/dev/null") as first, open("/dev/null"):
        while len(items) > 100 if most else total:
            break
    return (
        total
    )


size([1, 7, None])
'''

TOY = {
    "pytest.ini": "[pytest]",
    "src/toy/__init__.py": "",
    "src/toy/numbers.py": """\
        LIMIT = 3


        def double(number):
            return number * 2


        def is_small(number):
            return number < LIMIT


        def clip(number):
            return number if number >= 0 else 0


        def never():
            return 5
        """,
    "tests/test_numbers.py": """\
        import os, subprocess, sys

        from toy.numbers import clip, double, is_small

        def test_double():
            program = "from toy.numbers import double; print(double(2))"
            ran = subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONPATH": os.environ["PYTHONPATH"]},
                capture_output=True,
                text=True,
            )
            assert ran.stdout == "4\\n"

        def test_small():
            assert is_small(1)

        def test_small_thoroughly():
            assert not is_small(3)

        def test_clip():
            assert (clip(-2), clip(0), clip(2)) == (0, 0, 2)
        """,
    "conftest.py": """\
        def pytest_addoption(parser):
            parser.addoption("--proof", default="whole")

        def pytest_collection_modifyitems(config, items):
            if config.option.proof == "short":
                items[:] = [item for item in items if "thoroughly" not in item.name]
        """,
}
CHANGES = {
    1: "constant changed",
    5: "value None",
    13: "comparison shifted",
    17: "value None",
}
TABLE = """
    | line | what was changed | killed by |
    |---|---|---|
    | `src/toy/numbers.py:1` | constant changed: `3` → `4` | the whole proof alone: `tests/test_numbers.py::test_small_thoroughly` |
    | `src/toy/numbers.py:5` | value None: `number * 2` → `None` | the short proof: `tests/test_numbers.py::test_double` |
    | `src/toy/numbers.py:13` | comparison shifted: `>=` → `>` | nothing |
    | `src/toy/numbers.py:17` | value None: `5` → `None` | nothing: no test executes it |

    - killed by the short proof: 1
    - killed by the whole proof alone: 1
    - killed by nothing: 1
    - killed by nothing: no test executes it: 1

    Of those that either kills, the short proof kills 1 of 2.
    """  # noqa: E501


@pytest.fixture
def toy(tmp_path: Path) -> Tree:
    """A tree of one package, with tests of which one is not in the short proof."""
    for name, text in TOY.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(textwrap.dedent(text))
    install_recorder(tmp_path)
    return Tree(
        root=tmp_path / "tree",
        folder=tmp_path,
        # Without plugins that are only installed, it begins sooner.
        pytest=[sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-p", "pytest_timeout"],
        variables={
            **{name: os.environ[name] for name in os.environ if "PYTEST" not in name},
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join((str(tmp_path), str(tmp_path / "tree/src"))),
        },
    )


def statements() -> tuple[Source, list[ast.stmt]]:
    """Return the module with all of its statements that do something."""
    source = Source(MODULE)
    return source, [statement for statement, _ in find_statements(source.tree)]


def test_imports_docstrings_and_declarations_are_left_out() -> None:
    """A site is a statement that does something."""
    _, found = statements()
    lines = sorted({statement.lineno for statement in found})
    said = [MODULE.splitlines()[line - 1].split()[0] for line in lines]
    expected = 'text b"""; total for if total elif with while break return size([1,'
    assert said == expected.split()


def test_mutants_compile_and_differ_and_keep_their_lines() -> None:
    """Each kind of change can be made, and none moves a line."""
    source, found = statements()
    kinds = set()
    for seed in range(20):
        for statement in found:
            mutation = choose_mutation(source, statement, random.Random(seed))
            if mutation is None:
                # It has nothing to change, or another statement stands behind its last line.
                assert statement.lineno in (13, 20)
                continue
            kinds.add(mutation.kind)
            text = source.apply(mutation.edit)
            assert ast.dump(ast.parse(text)) != ast.dump(source.tree)
            assert text.count("\n") == MODULE.count("\n")
            assert text.splitlines()[-1] == MODULE.splitlines()[-1] or statement is found[-1]
    assert kinds == set(KINDS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f(a < b)", "f(a <= b)"),
        ("f(a is\\\n  not b)", "f(a is\n b)"),
        ("f((a)  # in\n not  in (b))", "f((a)  # in\n in (b))"),
    ],
)
def test_comparisons_are_shifted(before: str, after: str) -> None:
    """The operator is found between parentheses and comments."""
    source = Source(before)
    [edit] = KINDS["comparison shifted"](source, source.tree.body[0])
    assert ast.dump(ast.parse(source.apply(edit))) == ast.dump(ast.parse(after))


def test_probes_tell_what_is_reached_and_keep_lines(tmp_path: Path) -> None:
    """A program with probes at all of its statements does the same, and names those it reached."""
    source, found = statements()
    reached = tmp_path / "reached"
    reached.touch()
    edits = add_probes(source, dict(enumerate(found)), str(reached))
    text = source.apply(*edits)
    assert text.count("\n") == MODULE.count("\n")
    path = tmp_path / "probed.py"
    path.write_text(text)
    space = runpy.run_path(str(path))
    assert space["size"]([1, 7, None, 9, 10]) == 2
    numbers = {int(line.split("\t")[0]) for line in reached.read_text().splitlines()}
    left = [ast.unparse(found[number]) for number in set(range(len(found))) - numbers]
    assert left == ["break"]
    # Where the file is not there, nothing is felt.
    reached.unlink()
    subprocess.run([sys.executable, "-I", "-S", str(path)], check=True, env={})


def test_tests_are_found_by_their_process_or_by_the_time() -> None:
    """A process that has lost its variables is of all the tests that ran then."""
    spans = [
        Span("tests/test_a.py::a", "gw0", 10, 20, False),
        Span("tests/test_a.py::b", "gw0", 20, 30, False),
        Span("docs/page.md::line:1", "gw1", 10, 30, False),
    ]
    lines = ["0\t15\tgw0\ttests/test_a.py::a (call)\n", "1\t25\t\t\n", "2\t5\tgw0\t\n"]
    lines += ["3\t40\tgw0\ttests/test_a.py::a (call)\n"]
    assert read_reached(lines, spans) == {
        0: {"tests/test_a.py::a"},
        1: {"tests/test_a.py::b", "docs/page.md"},
        2: {""},
        3: {"tests/test_a.py::a", "tests/test_a.py::b"},
    }


def test_tests_of_the_module_are_asked_first() -> None:
    """Then come those that take least; what an import runs is asked of the module's tests too."""
    seconds = {"t/test_m.py::a": 9.0, "t/test_n.py::b": 2.0, "t/test_n.py::c": 1.0}
    ordered = ["t/test_m.py::a", "t/test_n.py::c", "t/test_n.py::b"]
    assert order_tests({*seconds}, "t/test_m.py", seconds, is_outside=False) == ordered
    found = order_tests({"t/test_n.py::b"}, "t/test_m.py", seconds, is_outside=True)
    assert found == ["t/test_m.py::a", "t/test_n.py::b"]
    assert order_tests({""}, "t/test_m.py", seconds, is_outside=True) == ordered
    assert order_tests(set(), "t/test_m.py", seconds, is_outside=True) == []


def test_sites_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """The same seed chooses the same lines and changes; each package has its share."""
    for name in ("src/fal_core_worker", "plugins/fal-uv", "plugins/fal-machines"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    sites = choose_sites(tmp_path, 20, "7")
    assert len(sites) == 20
    assert [site.key for site in choose_sites(tmp_path, 20, "7")] == [
        site.key for site in sites
    ]
    packages = {site.path.partition("src/")[2].partition("/")[0] for site in sites}
    assert packages == {"fal_core_worker", "fal_uv", "fal_machines"}
    assert sum((ROOT / site.test_file).exists() for site in sites) > 10


def test_survivors_and_killers_are_told(toy: Tree, tmp_path: Path) -> None:
    """
    A mutant is killed by the short proof, by the whole one alone, by neither, or reached by
    no test; the table says which.
    """
    sites = [
        attrs.evolve(site, mutation=change(site, CHANGES[site.statement.lineno]))
        for site in choose_sites(toy.root, 5, "1")
        if site.statement.lineno in CHANGES
    ]
    findings = judging.probe(toy, sites, ["tests"], 2)
    # Its process has lost its variables.
    assert "tests/test_numbers.py::test_double" in findings.tests[sites[1].key]
    short = toy.list_tests("short", ["tests"])
    file = tmp_path / "results.jsonl"
    for site in sites:
        judging.append_result(file, judging.judge(toy, site, findings, short, most=5))
        assert (toy.root / site.path).read_text() == site.source.text
    _, results = judging.read_results(file)
    table = "\n".join(judging.draw_table(results[site.key] for site in sites))
    assert table == textwrap.dedent(TABLE).strip()


def change(site: Site, kind: str) -> Mutation:
    """Return the one change of that kind."""
    [edit] = KINDS[kind](site.source, site.statement)
    return Mutation(kind, edit, site.source.between(edit.begin, edit.end))
