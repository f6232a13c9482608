"""Mutations: what can be changed in a statement, so that every line keeps its number."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import attrs

#: What becomes of operators.
SHIFTED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
SHIFTED |= {"is": "is not", "is not": "is", "in": "not in", "not in": "in"}
EXCHANGED = {"and": "or", "or": "and"}
_OPERATOR = r"is[\s\\]+not\b|not[\s\\]+in\b|is\b|in\b|and\b|or\b|[<>=!]=|[<>]"
#: Statements of one line, which ``pass`` can replace.
SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return)
SIMPLE += (ast.Raise, ast.Delete, ast.Assert, ast.Break, ast.Continue)
#: The expression at the head of each statement with a body.
HEADS = {ast.If: "test", ast.While: "test", ast.For: "iter", ast.AsyncFor: "iter"}
HEADS |= {ast.With: "items", ast.AsyncWith: "items"}


@attrs.frozen
class Edit:
    """The bytes of a source from *begin* to *end*, replaced by *text*."""

    begin: int
    end: int
    text: str


class Source:
    """A module as text and as a tree."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._bytes = text.encode()
        self._starts = [0]
        for line in self._bytes.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def begin_of(self, node: ast.expr | ast.stmt) -> int:
        """Return where *node* begins, in bytes."""
        return self._starts[node.lineno - 1] + node.col_offset

    def end_of(self, node: ast.expr | ast.stmt) -> int:
        """Return where *node* ends, in bytes."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def between(self, begin: int, end: int) -> str:
        """Return the text from one place to another."""
        return self._bytes[begin:end].decode()

    def replace(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        """Return the edit that puts *text* in the place of *node*, with as many lines."""
        begin, end = self.begin_of(node), self.end_of(node)
        missing = self.between(begin, end).count("\n") - text.count("\n")
        return Edit(begin, end, text + "\n" * missing)

    def apply(self, *edits: Edit) -> str:
        """
        Return the text with *edits*, which do not overlap.

        Of those that insert at one place, the last stands first.
        """
        data = self._bytes
        for edit in sorted(edits, key=lambda edit: edit.begin, reverse=True):
            data = data[: edit.begin] + edit.text.encode() + data[edit.end :]
        return data.decode()

    def accepts(self, *edits: Edit) -> bool:
        """Tell whether *edits* make another program that compiles, of as many lines."""
        text = self.apply(*edits)
        try:
            compile(text, "<mutant>", "exec", dont_inherit=True)
            same = ast.dump(ast.parse(text)) == ast.dump(self.tree)
        except (SyntaxError, ValueError):
            return False
        return not same and text.count("\n") == self.text.count("\n")


@attrs.frozen
class Mutation:
    """One change of a statement: of what *kind* it is, and the text *before* it."""

    kind: str
    edit: Edit
    before: str


def choose_mutation(
    source: Source, statement: ast.stmt, chance: random.Random
) -> Mutation | None:
    """Return a change that *statement* allows, each kind as likely as the others."""
    for kind in chance.sample(list(KINDS), len(KINDS)):
        edits = list(KINDS[kind](source, statement))
        for edit in chance.sample(edits, len(edits)):
            if source.accepts(edit):
                return Mutation(kind, edit, source.between(edit.begin, edit.end))
    return None


def head_of(statement: ast.stmt) -> ast.expr | None:
    """Return the first expression at the head of a statement with a body, None of a simple one."""
    found = getattr(statement, HEADS.get(type(statement), ""), None)
    return found[0].context_expr if isinstance(found, list) else found


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield all that *statement* evaluates, without its body."""
    annotation = getattr(statement, "annotation", None)
    found: list[ast.AST] = [head_of(statement) or statement]
    while found:
        node = found.pop()
        called = getattr(node, "func", None)
        is_cast = getattr(called, "id", getattr(called, "attr", "")) == "cast"
        # Parts of a string have the places of the whole, and what is cast to is a type.
        if not isinstance(node, ast.JoinedStr) and not is_cast and node is not annotation:
            found.extend(ast.iter_child_nodes(node))
            if isinstance(node, ast.expr):
                yield node


def _invert_conditions(source: Source, statement: ast.stmt) -> Iterator[Edit]:
    tests = [getattr(statement, "test", None)]
    for node in _expressions(statement):
        tests += [node.test] if isinstance(node, ast.IfExp) else []
        tests += [test for part in getattr(node, "generators", ()) for test in part.ifs]
    for test in tests:
        if test is not None:
            text = source.between(source.begin_of(test), source.end_of(test))
            yield source.replace(test, f"not ({text})")


def _remove_statement(source: Source, statement: ast.stmt) -> Iterator[Edit]:
    # Without a name's value, whatever uses the name fails; nobody has to look for that.
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    names = [isinstance(each, ast.Name) for each in targets]
    is_kept = all(names) and not isinstance(statement, ast.AugAssign)
    if isinstance(statement, SIMPLE) and not is_kept:
        yield source.replace(statement, "pass")


def _change_constants(source: Source, statement: ast.stmt) -> Iterator[Edit]:
    for node in _expressions(statement):
        if not isinstance(node, ast.Constant) or node.value in (None, Ellipsis):
            continue
        value = node.value
        more = "X" if isinstance(value, str) else b"X" if isinstance(value, bytes) else 1
        changed = (not value) if isinstance(value, bool) else value + more  # type: ignore
        yield source.replace(node, repr(changed))


def _forget_values(source: Source, statement: ast.stmt) -> Iterator[Edit]:
    if isinstance(statement, ast.Return | ast.Assign | ast.AnnAssign) and statement.value:
        yield source.replace(statement.value, "None")


def _shift_comparisons(source: Source, statement: ast.stmt) -> Iterator[Edit]:
    for node in _expressions(statement):
        if isinstance(node, ast.Compare):
            yield from _change_operators(source, [node.left, *node.comparators], SHIFTED)


def _exchange_operators(source: Source, statement: ast.stmt) -> Iterator[Edit]:
    for node in _expressions(statement):
        if isinstance(node, ast.BoolOp):
            yield from _change_operators(source, node.values, EXCHANGED)


def _change_operators(
    source: Source, operands: list[ast.expr], changes: dict[str, str]
) -> Iterator[Edit]:
    for left, right in pairwise(operands):
        end = source.end_of(left)
        # Beside the operator are parentheses, spaces, and comments.
        between = source.between(end, source.begin_of(right))
        found = re.search(rf"^[^#\n]*?({_OPERATOR})", between, re.MULTILINE)
        if found and (text := changes.get(" ".join(found[1].replace("\\", " ").split()))):
            begin = end + len(between[: found.start(1)].encode())
            yield Edit(begin, begin + len(found[1]), text + "\n" * found[1].count("\n"))


KINDS: dict[str, Callable[[Source, ast.stmt], Iterator[Edit]]] = {
    "condition inverted": _invert_conditions,
    "statement removed": _remove_statement,
    "constant changed": _change_constants,
    "comparison shifted": _shift_comparisons,
    "value None": _forget_values,
    "and/or exchanged": _exchange_operators,
}
