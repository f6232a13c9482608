"""Which module imports which: imports in functions and for the type checker included."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen(kw_only=True)
class Module:
    """
    One module of ours.

    Attributes:
        name: As it is imported, as in ``fal_core.calling.launcher``.

        imported: The names that it imports, each as long as it is written: for
            ``from a.b import c`` it is ``a.b.c``.
    """

    name: str
    path: Path
    lines: int
    imported: frozenset[str]

    @property
    def package(self) -> str:
        """The distribution's package, as in ``fal_core``."""
        return self.name.partition(".")[0]

    @property
    def is_folder(self) -> bool:
        """Whether it is the ``__init__`` of a folder."""
        return self.path.name == "__init__.py"

    @property
    def place(self) -> str:
        """The folder of the package that it lies in, or its own name at the top."""
        return [*self.name.split("."), "__init__"][1]


def find_packages() -> dict[str, Path]:
    """Return the directory of each package of the repository by its name."""
    found = [*ROOT.glob("src/*/__init__.py"), *ROOT.glob("plugins/*/src/*/__init__.py")]
    return {path.parent.name: path.parent for path in sorted(found)}


def read_modules(packages: Mapping[str, Path]) -> dict[str, Module]:
    """Return the modules of *packages* by their names."""
    modules = {}
    for directory in packages.values():
        for path in sorted(directory.rglob("*.py")):
            parts = path.relative_to(directory.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            modules[name] = Module(
                name=name,
                path=path,
                lines=len(text.splitlines()),
                imported=frozenset(names_imported(ast.parse(text, str(path)))),
            )
    return modules


def names_imported(tree: ast.AST) -> Iterator[str]:
    """Yield what *tree* imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import is written whole"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_edges(modules: Mapping[str, Module]) -> dict[str, frozenset[str]]:
    """Return for each module those of *modules* that it imports."""
    edges = {}
    for module in modules.values():
        found = set()
        for name in module.imported:
            # The longest part that is a module; the rest is a name in it.
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and name != module.name:
                found.add(name)
        edges[module.name] = frozenset(found)
    return edges


def leave_out(
    edges: Mapping[str, frozenset[str]], sanctioned: Collection[tuple[str, str]]
) -> dict[str, frozenset[str]]:
    """Return *edges* without those that are *sanctioned*."""
    return {
        name: frozenset(other for other in others if (name, other) not in sanctioned)
        for name, others in edges.items()
    }


def find_knots(edges: Mapping[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """Return the groups of modules that import each other in a circle, the largest first."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    knots = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                knots.append(tuple(sorted(stack[at:])))
            del stack[at:]

    for name in sorted(edges):
        if name not in number:
            visit(name)
    return sorted(knots, key=len, reverse=True)
