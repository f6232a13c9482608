"""
Record the public names of the released ``fal`` package: run it where that is installed.

The names of ``fal.api`` are left out: its documentation rules over the release. Under
``modules`` is every module of the release.

    python released.py > released.json
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "fal",
    "fal.app",
    "fal.apps",
    "fal.container",
    "fal.distributed",
    "fal.exceptions",
    "fal.files",
    "fal.realtime",
    "fal.ref",
    "fal.sdk",
    "fal.sync",
    "fal.toolkit",
    "fal.toolkit.audio",
    "fal.toolkit.audio.audio",
    "fal.toolkit.compilation",
    "fal.toolkit.constraints",
    "fal.toolkit.exceptions",
    "fal.toolkit.file",
    "fal.toolkit.file.file",
    "fal.toolkit.file.providers.gcp",
    "fal.toolkit.file.providers.r2",
    "fal.toolkit.file.providers.s3",
    "fal.toolkit.file.types",
    "fal.toolkit.image",
    "fal.toolkit.image.image",
    "fal.toolkit.image.safety_checker",
    "fal.toolkit.kv",
    "fal.toolkit.pydantic",
    "fal.toolkit.types",
    "fal.toolkit.utils",
    "fal.toolkit.utils.download_utils",
    "fal.toolkit.utils.endpoint",
    "fal.toolkit.utils.retry",
    "fal.toolkit.utils.ssrf",
    "fal.toolkit.video",
    "fal.toolkit.video.video",
)


def main() -> None:
    """Print the version and the names."""
    names = {name: read(importlib.import_module(name)) for name in MODULES}
    print("{")
    for module, found in names.items():
        print(f' "{module}": {{')
        lines = (f"  {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
        print(",\n".join(lines) + "\n },")
    paths = sorted(find_modules())
    print(f' "modules": {json.dumps({each: {} for each in paths})},')
    version = importlib.metadata.version("fal")
    print(f' "version": {{"{version}": {{}}}}\n}}')


def find_modules() -> Iterator[str]:
    """Yield the name of each public module."""
    folder = Path(str(importlib.import_module("fal").__file__)).parent
    for file in folder.rglob("*.py"):
        parts = ("fal", *file.relative_to(folder).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        if "._" not in name:
            yield name


def read(module: types.ModuleType) -> dict[str, Any]:
    """Return what is told of the names that *module* defines, or says that it has."""
    told = getattr(module, "__all__", None)
    if module.__name__ == "fal":
        # It says that it has fewer names than programs use.
        told = [*told, "cloud", "isolated", "local", "serverless", "wrap_app"]
    names = told if told is not None else [each for each in vars(module) if each[0] != "_"]
    found = {}
    for name in names:
        value = getattr(module, name)
        if isinstance(value, types.ModuleType) or type(value).__name__ in (
            "_Feature",
            "TypeVar",
        ):
            continue
        home = str(getattr(value, "__module__", None))
        if told is None and not home.startswith(module.__name__):
            continue
        found[name] = describe(value)
    return found


def describe(value: Any) -> dict[str, Any]:
    """Return how *value* is called, and its methods and fields."""
    if isinstance(value, type):
        members = {}
        for name, member in vars(value).items():
            inner = getattr(member, "__func__", member)
            if name[0] != "_" and isinstance(inner, types.FunctionType):
                members[name] = {"parameters": parameters_of(inner)}
            elif name[0] != "_" and isinstance(member, property):
                members[name] = {}
        fields = getattr(value, "model_fields", None)
        if isinstance(fields, dict):
            members.update({name: {} for name in fields})
        elif dataclasses.is_dataclass(value):
            own = [each.name for each in dataclasses.fields(value) if each.name[0] != "_"]
            members.update({name: {} for name in own})
        return {"class": True, "members": members}
    if inspect.isfunction(value):
        return {"parameters": parameters_of(value)}
    return {}


def parameters_of(function: Any) -> list[list[str]]:
    """Return the name, the kind and the default of each parameter, as text."""
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return []
    found = []
    for each in signature.parameters.values():
        default = "" if each.default is each.empty else repr(each.default)
        found.append([each.name, each.kind.name, "…" if " at 0x" in default else default])
    return found


if __name__ == "__main__":
    main()
