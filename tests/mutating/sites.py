"""Sites: statements chosen by chance, each with one mutation of it."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import attrs

from mutating.mutations import HEADS, SIMPLE, Mutation, Source, choose_mutation
from mutating.probes import add_probes

#: Where packages have their tests that share a distribution with another.
TESTS = {
    "fal_core_worker": "tests/worker",
    "fal_server_agent": "plugins/fal-server/tests/agent",
}


@attrs.frozen(kw_only=True)
class Site:
    """
    A statement of the module *path*, and what is done to it.

    Attributes:
        is_outside: Whether it runs as its module is imported.
    """

    path: str
    source: Source = attrs.field(repr=False, eq=False)
    statement: ast.stmt = attrs.field(repr=False, eq=False)
    is_outside: bool
    mutation: Mutation

    @property
    def line(self) -> str:
        """Its module and line."""
        return f"{self.path}:{self.statement.lineno}"

    @property
    def key(self) -> str:
        """What tells it from all others."""
        edit = self.mutation.edit
        return f"{self.line}:{edit.begin}:{edit.end}:{edit.text}"

    @property
    def test_file(self) -> str:
        """The file with the tests of its module, which need not exist."""
        before, _, inside = f"/{self.path}".rpartition("/src/")
        package, _, rest = inside.partition("/")
        folder = TESTS.get(package, f"{before}/tests".lstrip("/"))
        return str(Path(folder, rest).with_name(f"test_{Path(rest).name}"))


def choose_sites(root: Path, count: int, seed: str) -> list[Site]:
    """
    Return *count* sites of the packages below *root*, as the text *seed* decides.

    A package has its share of them by how many lines it can execute.
    """
    found = {package: list(find_places(root, package)) for package in find_packages(root)}
    chosen: list[Site] = []
    for package, number in share(count, {each: len(found[each]) for each in found}).items():
        chance = random.Random(f"{seed}:{package}")
        chance.shuffle(found[package])
        sites = (make_site(*place, chance) for place in found[package])
        chosen += islice(filter(None, sites), number)
    return sorted(chosen, key=lambda site: (site.path, site.statement.lineno))


def find_packages(root: Path) -> list[Path]:
    """Return the directories of the packages below *root*."""
    found = [*root.glob("src/*/__init__.py"), *root.glob("plugins/*/src/*/__init__.py")]
    return sorted(path.relative_to(root).parent for path in found)


def find_places(root: Path, package: Path) -> Iterator[tuple[str, Source, ast.stmt, bool]]:
    """Yield the statements of a package with their modules, and whether an import runs them."""
    for path in sorted((root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if "/migrations/versions/" not in name:
            source = Source(path.read_text("utf-8"))
            for statement, is_outside in find_statements(source.tree):
                yield name, source, statement, is_outside


def share(count: int, sizes: dict[Path, int]) -> dict[Path, int]:
    """Return *count* shared out in proportion to *sizes*."""
    whole = sum(sizes.values())
    shares = {each: count * size // whole for each, size in sizes.items()}
    rests = sorted(sizes, key=lambda each: -(count * sizes[each] % whole))
    for each in rests[: count - sum(shares.values())]:
        shares[each] += 1
    return shares


def make_site(
    path: str, source: Source, statement: ast.stmt, is_outside: bool, chance: random.Random
) -> Site | None:
    """Return a statement with a mutation; None where it allows none, or no probe."""
    mutation = choose_mutation(source, statement, chance)
    if mutation is None or not source.accepts(*add_probes(source, {0: statement}, "/")):
        return None
    return Site(
        path=path, source=source, statement=statement, is_outside=is_outside, mutation=mutation
    )


def find_statements(
    node: ast.AST, *, is_outside: bool = True
) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the statements below *node* that do something, and whether an import runs them."""
    bodies = ["orelse", "finalbody", "handlers", "cases"]
    bodies += [] if _is_for_types(node) else ["body"]
    for child in [child for name in bodies for child in getattr(node, name, ())]:
        if isinstance(child, (*SIMPLE, *HEADS)) and not _declares(child):
            yield child, is_outside
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from find_statements(child, is_outside=is_outside)
        elif "overload" not in map(_name_of, child.decorator_list):
            yield from find_statements(child, is_outside=False)


def _name_of(node: object) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def _is_for_types(statement: ast.AST) -> bool:
    return _name_of(getattr(statement, "test", None)) == "TYPE_CHECKING"


def _declares(statement: ast.stmt) -> bool:
    """Tell whether *statement* is a docstring, a type, or a list of names."""
    value = getattr(statement, "value", None)
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        is_said = isinstance(statement, ast.Expr) and isinstance(value, ast.Constant)
        return is_said or _is_for_types(statement)
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    names = {_name_of(node) for node in (*targets, getattr(statement, "annotation", None))}
    called = _name_of(getattr(value, "func", None))
    return (
        value is None
        or not names.isdisjoint({"__all__", "TYPE_CHECKING", "TypeAlias"})
        or called in ("TypeVar", "ParamSpec", "TypeVarTuple", "NewType")
    )
