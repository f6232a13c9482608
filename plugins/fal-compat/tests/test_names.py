"""Names: those of the released SDK are here, with the parameters that they have there."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_compat.absent import ABSENT

ROOT = Path(__file__).resolve().parents[3]
RELEASED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded").joinpath("released.json").read_text()
)
VERSION = next(iter(RELEASED.pop("version")))
MODULES = list(RELEASED.pop("modules"))
PAGE = (ROOT / "docs" / "from-fal.md").read_text()


def read_table(title: str) -> dict[str, str]:
    """Return the rows of the table of the page below *title*, by the names in their first cells."""
    part = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = {}
    for line in part.splitlines():
        cells = [each.strip() for each in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                rows[name] = cells[1]
    return rows


MISSING = read_table("Names that are not there")


def is_missing(name: str) -> bool:
    """Tell whether the page says that *name*, or what it belongs to, is not there."""
    parts = name.split(".")
    return any(".".join(parts[: count + 1]) in MISSING for count in range(len(parts)))


def released_names() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the module, the name and the facts of all that the released SDK has."""
    for module, names in RELEASED.items():
        for name, facts in names.items():
            yield module, name, facts


NAMES = [each for each in released_names() if not is_missing(f"{each[0]}.{each[1]}")]


def find(module: str, name: str) -> Any:
    """Import what stands here for a name of the SDK."""
    return getattr(importlib.import_module(module.replace("fal", "fal_compat", 1)), name)


def parameters_of(function: Any) -> list[inspect.Parameter]:
    """Return the parameters of a function, those of an instance and a class left out."""
    inner = getattr(function, "__func__", function)
    found = list(inspect.signature(inner, follow_wrapped=False).parameters.values())
    return found[1:] if found and found[0].name in ("self", "cls") else found


def differences(function: Any, recorded: list[list[str]]) -> Iterator[str]:
    """
    Yield how the parameters of *function* differ from those that are *recorded*. More of
    them, by keyword and with a default, are none.
    """
    own = parameters_of(function)
    wanted = [each for each in recorded if each[0] not in ("self", "cls")]
    if {"args", "kwargs"} <= {each.name for each in own}:
        return
    by_name = {each.name: each for each in own}
    for name, kind, default in wanted:
        if kind.startswith("VAR_") or name.startswith("_"):
            continue
        found = by_name.get(name)
        if found is None:
            yield f"no parameter {name!r}"
            continue
        has = "" if found.default is found.empty else repr(found.default)
        if default and not has:
            yield f"{name!r} has no default, and should have {default}"
        elif default not in ("", "…") and " at 0x" not in has and has != default:
            yield f"{name!r} has the default {has}, and should have {default}"
    positional = [each.name for each in own if each.kind is each.POSITIONAL_OR_KEYWORD]
    first = [each[0] for each in wanted if each[1] == "POSITIONAL_OR_KEYWORD"]
    if positional[: len(first)] != first:
        yield f"the parameters begin with {positional[: len(first)]}, and should with {first}"
    known = {each[0] for each in wanted}
    if {"args", "kwargs"} <= known:
        # A decorator hides what it takes.
        return
    for each in own:
        needed = each.default is each.empty and not each.kind.name.startswith("VAR_")
        if each.name not in known and needed:
            yield f"{each.name!r} has to be passed"


def test_names_of_modules():
    """
    A name is here, its parameters are there in their order and with their defaults, and so
    are the fields and the methods of a class, unless the page says that it is not there.
    """
    wrong = []
    for module, name, facts in NAMES:
        path = f"{module}.{name}"
        try:
            found = find(module, name)
        except (AttributeError, ImportError) as error:
            wrong.append(f"{path}: {error}")
            continue
        if "parameters" in facts:
            wrong += [f"{path}: {each}" for each in differences(found, facts["parameters"])]
        for member, told in facts.get("members", {}).items():
            full = f"{path}.{member}"
            if is_missing(full):
                continue
            if not has_member(found, member):
                wrong.append(f"{full} is not there")
            elif "parameters" in told:
                method = inspect.getattr_static(found, member)
                ways = differences(method, told["parameters"])
                wrong += [f"{full}: {each}" for each in ways]
    assert not wrong, "\n".join(wrong)


def has_member(found: Any, name: str) -> bool:
    """Tell whether a class has a field, a property or a method of that *name*."""
    if hasattr(found, name) or name in getattr(found, "model_fields", {}):
        return True
    if dataclasses.is_dataclass(found):
        return name in {each.name for each in dataclasses.fields(found)}
    if isinstance(found, type) and attrs.has(found):
        return name in attrs.fields_dict(found)
    return name in inspect.get_annotations(found)


def test_modules():
    """Each module of the release is here, unless the page says that it is not there."""
    missing = []
    for name in MODULES:
        try:
            importlib.import_module(name.replace("fal", "fal_compat", 1))
        except ImportError as error:
            if not is_missing(name):
                missing.append(f"{name}: {error}")
    assert not missing, "\n".join(missing)


def test_missing_names_are_missing():
    """
    What the page lists as not there was released, is not there, and has another way: the
    one that importing it names.
    """
    recorded = {*RELEASED, *MODULES}
    for module, name, facts in released_names():
        members = facts.get("members", {})
        recorded |= {f"{module}.{name}", *(f"{module}.{name}.{each}" for each in members)}
    for name, advice in MISSING.items():
        assert name in recorded, name
        assert advice, name
        if name in ABSENT:
            with pytest.raises(ImportError) as caught:
                import_name(name)
            said = f"fal_compat has no {name}. Instead of it: {plain(advice)}."
            assert str(caught.value) == said
        else:
            # A method of a class that is here: no program imports it.
            place, _, method = name.rpartition(".")
            assert not has_member(find(*place.rsplit(".", 1)), method), name
    assert set(ABSENT) <= set(MISSING)


def plain(text: str) -> str:
    """Return the text of a cell of the page without its marks."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text).replace("`", "")


def import_name(name: str) -> None:
    """Import what stands here for a name of the SDK, as a program does it."""
    module, _, last = name.replace("fal", "fal_compat", 1).rpartition(".")
    exec(f"from {module} import {last}", {})


def test_private_names():
    """Names that programs use although they are private are here too."""
    from fal_compat.toolkit import File, Image
    from fal_compat.toolkit.utils import download_utils

    assert type(Image._from_url("https://host/a.png")) is Image
    assert File._from_url("data:,a").content_type is None
    assert download_utils._hash_url("a") == hashlib.sha256(b"a").hexdigest()


def test_documented_names():
    """A name that the API documents is here at its path, and is the one that fal-core has."""
    with (ROOT / "docs" / "documented-names.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    modules = ("api.api", *(f"api.{each}" for each in API_MODULES), "api")
    checked = 0
    for row in rows:
        path = row["documented"].removeprefix("fal.")
        module = next((each for each in modules if path.startswith(f"{each}.")), None)
        name = path.removeprefix(f"{module}.")
        if module is None or "." in name:
            continue
        value = find(f"fal.{module}", name)
        where, _, last = row["here"].rpartition(".")
        if name != "function":
            assert value is getattr(importlib.import_module(where), last), path
        checked += 1
    assert checked > 40


API_MODULES = ("apps", "client", "deploy", "environments", "keys", "runners", "secrets")


def test_version_of_the_page():
    """The page names the release whose names were recorded."""
    assert f"`fal` {VERSION}" in PAGE
