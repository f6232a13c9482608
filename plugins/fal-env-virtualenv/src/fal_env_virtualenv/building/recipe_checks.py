"""
Checks of recipes: options that depend on files and on each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fal_core.errors import OptionError
from fal_env_virtualenv.building.recipes import Recipe
from fal_uv.installing.python_choices import choose_python, pin_of
from fal_uv.requirements.entries import Requirement, check_settled
from fal_uv.requirements.settled import Settled, check_project

_BACKENDS = r"auto|cpu|xpu|cu\d{2,3}|rocm\d+(\.\d+){0,2}"
_UNITS = "seconds?|minutes?|hours?|days?|weeks?"
#: A date, a time, a duration in words, and one of ISO 8601.
_NEWER = (
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?|"
    rf"\d+ ?({_UNITS})( ago)?|P(\d+[WD])*(T(\d+[HMS])+)?"
)
#: Options that say which versions are chosen, which a lock has done.
_CHOOSING = (
    *("constraints_file", "index_url", "extra_index_urls", "torch_backend", "exclude_newer"),
)


def check_recipe(recipe: Recipe) -> str | None:
    """
    Check *recipe*, and return the version of its Python; None for that of the running one.

    Raises:
        OptionError: An option is wrong, or two of them are at odds.

        UnknownNameError: No Python of this machine fits.
    """
    _check_choices(recipe)
    if recipe.project is not None:
        path, groups, extras, frozen = recipe.project
        check_project(
            Settled(form="project", path=path, groups=groups, extras=extras, frozen=frozen)
        )
    layers = list(recipe.parsed_layers())
    if recipe.project is not None and layers[1:]:
        # What is settled may stand in the first layer that is declared.
        layers = [[*layers[0], *layers[1]], *layers[2:]]
    check_settled(layers)
    _check_lock(recipe, [entry for layer in layers for entry in layer])
    version, entries = recipe.python_version, []
    for entry in recipe.requirements():
        if entry.settled is not None:
            entries += [entry.settled.path, *entry.settled.files()]
        elif entry.form == "file" and entry.path is not None:
            entries.append(entry.path)
        if entry.settled is not None and entry.settled.form == "project":
            version = version or pin_of(entry.settled.path)
    return choose_python(entries, version)


def _check_choices(recipe: Recipe) -> None:
    backend, newer = recipe.torch_backend, recipe.exclude_newer
    if backend is not None and re.fullmatch(_BACKENDS, backend) is None:
        raise OptionError(
            "Option 'torch_backend' must be one of uv's, as in 'auto', 'cpu' or 'cu128', not "
            f"{backend!r}."
        )
    if newer is not None and (newer == "P" or re.fullmatch(_NEWER, newer) is None):
        raise OptionError(
            "Option 'exclude_newer' must be a date, as in '2026-05-01', or how long ago, as in "
            f"'7 days', not {newer!r}."
        )


def _check_lock(recipe: Recipe, entries: Sequence[Requirement]) -> None:
    """
    Check that options which say what is chosen are not given where a lock says all.
    """
    if not entries or any(entry.form != "settled" for entry in entries):
        return  # What the lock does not say is chosen.
    for name in _CHOOSING:
        if getattr(recipe, name):
            raise OptionError(
                f"Option {name!r} changes nothing: {entries[0].text!r} says what is installed. "
                "Leave it out."
            )
