"""
What uv says when it fails, in one sentence, and which requirement it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fal_core.errors import EnvironmentBuildError
from fal_env_virtualenv import credentials
from fal_env_virtualenv.requirements import Requirement, normalise_name

KIND = "virtualenv"
#: How many of the last lines an error shows.
LAST_LINES = 20

# As far to the left as uv puts them: a compiler's output is quoted further in.
_ERROR = re.compile(r"(?:error:| {0,2}\N{MULTIPLICATION SIGN})\s*(.*)")
_CAUSE = re.compile(r" {0,4}(?:cause:|Caused by:|[╰├]─[▶>])\s*(.*)")
_HINT = re.compile(r"\s*hint:\s*(.*)")
_CONCLUSION = re.compile(
    r",? (?:and|we can conclude that) (?:we can conclude that )?"
    r"your requirements are unsatisfiable\.?$"
)
_SYSTEM_ERRORS = {
    28: "The disk is full. Free some space.",
    122: "The disk quota is used up. Free some space.",
    30: "A directory that uv writes to is on a read-only file system. "
    "FAL_CORE_CACHE and UV_CACHE_DIR name others.",
    13: "A directory that uv writes to may not be written by this user. "
    "FAL_CORE_CACHE and UV_CACHE_DIR name others.",
}


def translate(
    lines: Sequence[str], requirements: Sequence[Requirement], code: int
) -> EnvironmentBuildError:
    """
    Return the error that the output of a failed uv stands for.
    """
    chain = _chain(lines)
    requirement = _blamed(" ".join(chain) or "\n".join(lines), requirements)
    system_reason = _system_reason(lines)
    if requirement is None and system_reason is None:
        requirement = _only_built(requirements)
    return EnvironmentBuildError(
        KIND,
        credentials.mask(system_reason or _reason(chain, code)),
        credentials.mask(requirement.text) if requirement is not None else None,
        _last(lines),
        # What the reason says is not said once more.
        _last(beside_reason(lines)) if system_reason is None else None,
    )


def _last(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if line.strip())[-LAST_LINES:]


def is_error(line: str) -> bool:
    """
    Tell whether *line* begins what uv says of its failure.
    """
    return _ERROR.fullmatch(line) is not None


def is_unsolved(lines: Sequence[str]) -> bool:
    """
    Tell whether uv found no versions that fit, which newer answers may change.
    """
    because = [line for line in _chain(lines) if line.startswith("Because ")]
    return any("was not found in the package registry" not in line for line in because)


def beside_reason(lines: Sequence[str]) -> list[str]:
    """
    Return the lines of a failed uv without those that :func:`translate` makes the reason of.
    """
    _, told = _parts(lines)
    return [line for number, line in enumerate(lines) if number not in told]


def _chain(lines: Sequence[str]) -> list[str]:
    """
    Return the error and its causes, each as one line.
    """
    return _parts(lines)[0]


def _parts(lines: Sequence[str]) -> tuple[list[str], set[int]]:
    """
    Return the error and its causes, each as one line, and the numbers of their lines.
    """
    chain: list[str] = []
    told: set[int] = set()
    quoting = False
    for number, line in enumerate(lines):
        start = _ERROR.fullmatch(line)
        cause = _CAUSE.fullmatch(line) if chain else None
        if start is not None or cause is not None:
            found = start or cause
            assert found is not None
            chain.append(found[1].strip())
            told.add(number)
            quoting = False
        elif chain and not quoting:
            continued = line.strip(" │")
            # What a program printed follows the cause that quotes it.
            quoting = (
                not continued or continued.startswith(("[", "---")) or bool(_HINT.match(line))
            )
            if not quoting:
                chain[-1] = f"{chain[-1]} {continued}"
                told.add(number)
    return chain, told


def _reason(chain: Sequence[str], code: int) -> str:
    because = next((part for part in chain if part.startswith("Because ")), None)
    if because is not None:
        sentence = _CONCLUSION.sub("", because.removeprefix("Because ")).rstrip(".,")
        return f"{sentence}."
    if not chain:
        # A shell tells a signal by what it adds to 128.
        how = f"signal {code - 128}" if code > 128 else f"code {code}"
        return f"uv ended with {how} and gave no reason."
    return ": ".join(part.rstrip(".:") for part in chain) + "."


def _system_reason(lines: Sequence[str]) -> str | None:
    """
    Return what an error number of the system means; None where there is none.
    """
    for line in reversed(lines):
        if (found := re.search(r"\(os error (\d+)\)", line)) is not None:
            return _SYSTEM_ERRORS.get(int(found[1]))
    return None


def _blamed(text: str, requirements: Sequence[Requirement]) -> Requirement | None:
    """
    Return the requirement that *text* speaks of.

    One that it holds word for word comes before one whose package it names.
    """
    for requirement in requirements:
        plain = requirement.text.partition(";")[0].strip()
        quoted = r"\s*".join(re.escape(part) for part in re.findall(r"[\w.*+!-]+|\S", plain))
        specific = requirement.form != "index" or normalise_name(plain) != requirement.name
        if specific and re.search(rf"(?<![\w.-]){quoted}(?![\w.])", text):
            return requirement
        if requirement.path is not None and requirement.path in text:
            return requirement
    words = [normalise_name(word) for word in re.findall(r"[A-Za-z0-9][\w.-]*", text)]
    places = [
        (words.index(name), position)
        for position, requirement in enumerate(requirements)
        for name in _names(requirement)
        if name in words
    ]
    return requirements[min(places)[1]] if places else None


def _only_built(requirements: Sequence[Requirement]) -> Requirement | None:
    """
    Return the one requirement that may have had to be built; None where there are more.

    What goes wrong while it is, uv may tell without a name: the project may have none.
    """
    built = [each for each in requirements if each.form in ("path", "editable", "address")]
    return built[0] if len(built) == 1 else None


def _names(requirement: Requirement) -> Iterable[str]:
    """
    Return the packages that *requirement* asks for, as the index spells them.
    """
    if requirement.name is not None:
        return [requirement.name]
    if requirement.form != "file" or requirement.path is None:
        return []
    try:
        with open(requirement.path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return []
    found = re.findall(r"^[\s\"']*([A-Za-z0-9][\w.-]*)", text, flags=re.MULTILINE)
    return [normalise_name(name) for name in found]
