"""
Scripts: the modules of the pages, made into one script.

A browser that has nothing of the page yet asks for each module by itself, a few at a time. In
one script that is a part of the page, they are there with it. Each module is a function of its
own, so that what it does not export stays its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.M)
_EXPORT = re.compile(r"^export (?=((?:async )?function\*?|const|class) (\w+))", re.M)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.M)


def join_modules(name: str, read: Callable[[str], str]) -> str:
    """
    Return one script that does what the module *name* does with those that it imports.

    Arguments:
        read: Returns the text of a module.

    Raises:
        ValueError: A module imports or exports in a way that is not known here, as with
            ``export let``, whose value others would not see change; or modules import each
            other.
    """
    joined: dict[str, str] = {}
    _add(name, read, joined, ())
    return "\n".join(joined.values())


def _add(
    name: str, read: Callable[[str], str], joined: dict[str, str], above: tuple[str, ...]
) -> None:
    if name in joined:
        return
    if name in above:
        raise ValueError(f"Modules import each other: {', '.join((*above, name))}.")
    text = read(name)
    imports = []
    for names, source in _IMPORT.findall(text):
        _add(source, read, joined, (*above, name))
        imports.append(f"const {{{names}}} = module_{source};\n")
    exported = ", ".join(match[2] for match in _EXPORT.finditer(text))
    body = "".join(imports) + _EXPORT.sub("", _IMPORT.sub("", text))
    left = _LEFT.search(body)
    if left is not None:
        raise ValueError(f"In the module {name!r}, this cannot be joined: {left[0]!r}.")
    # What is imported by nobody may wait for something at its top.
    is_last = not above
    joined[name] = (
        body
        if is_last
        else f"const module_{name} = (() => {{\n{body}return {{ {exported} }};\n}})();"
    )
