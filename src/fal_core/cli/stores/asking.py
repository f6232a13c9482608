"""
Asking stores: those of all plugins, one by one, so that one that fails hides no other.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
import click

from fal_core.cli.outputs import complain
from fal_core.errors import FalCoreError
from fal_core.reprs import in_one_line
from fal_core.stores import Store, describe_disk_error


@attrs.define
class Failures:
    """
    What could not be asked, each said once on standard error.
    """

    _said: set[str] = attrs.field(factory=set, init=False)

    def __bool__(self) -> bool:
        return bool(self._said)

    def say(self, sentence: str) -> None:
        """
        Print *sentence*, unless another store has failed in the same way.
        """
        if sentence not in self._said:
            self._said.add(sentence)
            complain(sentence)

    def of_store(self, store: Store, error: Exception) -> None:
        """
        Print what *store* has raised.
        """
        if isinstance(error, FalCoreError):
            self.say(str(error))
        elif isinstance(error, OSError):
            self.say(describe_disk_error(error))
        else:
            said = f"{type(error).__name__}: {in_one_line(error)}"
            self.say(f"The {store.category} of kind {store.kind!r} cannot be asked: {said}.")

    def leave(self) -> None:
        """
        End the command with exit code 1 if anything has failed.
        """
        if self:
            raise click.exceptions.Exit(1)


def find_stores(kinds: Collection[str], failures: Failures) -> list[Store]:
    """
    Return the stores of all plugins, each once.

    Arguments:
        kinds: Those whose stores are wanted; empty for all.

    Raises:
        UsageError: There is no store of one of *kinds*.
    """
    from fal_core.plugins.installed import load_plugins

    found: list[Store] = []
    for name, ask in load_plugins().hooks.each("fal_register_stores"):
        try:
            answers = [each for answer in ask() for each in answer]
        except Exception as error:
            failures.say(f"Plugin {name!r} cannot name its stores: {in_one_line(error)}.")
            continue
        for answer in answers:
            if not isinstance(answer, Store):
                failures.say(f"Plugin {name!r} names {answer!r} as a store, which it is not.")
            elif answer not in found:
                found.append(answer)
    known = sorted({store.kind for store in found})
    for kind in kinds:
        if kind not in known:
            raise click.UsageError(
                f"There is nothing of kind {kind!r}. There are: {', '.join(known) or 'none'}."
            )
    return [store for store in found if not kinds or store.kind in kinds]
