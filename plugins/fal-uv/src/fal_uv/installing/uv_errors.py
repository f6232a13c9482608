"""Errors of uv: the reason in one sentence, and the requirement that it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from fal_core.errors import EnvironmentBuildError
from fal_uv.requirements import url_credentials
from fal_uv.requirements.entries import Requirement

#: How many of the last lines of output an error has.
LAST_LINES = 20

# uv indents these less than the output of a compiler that it quotes. They are compiled on
# first use: most builds do not fail.
_ERROR = r"(?:error:| {0,2}\N{MULTIPLICATION SIGN})\s*(.*)"
_CAUSE = r" {0,4}(?:cause:|Caused by:|[╰├]─[▶>])\s*(.*)"
_HINT = r"\s*hint:\s*(.*)"
#: What uv says of a package, and of a version, that no index has and the user asks for.
_ABSENT = (
    r"Because (\S+) was not found in the (?:package registry|provided package locations) and "
    r"(?:you require|(\S+) depends on)"
)
_OLDER = r"Because only ([\w.-]+)<=(\S+) is available and you require ([\w.-]+)([<>=!~][^\s,]+)"
_NO_VERSION = (
    r"Because there is no version of ([\w.-]+)==(\S+) and you require ([\w.-]+)==([^\s,]+)"
)
#: What uv says of an index that it does not reach or that refuses it, and of another file than
#: was locked.
_UNREACHED = r"error sending request for url \((\S+)\)"
_TOO_OLD = r"unexpected argument '(\S+)' found|invalid value '(\S+)' for '--format"
_REFUSED = r"hint: An index (?:URL )?\((\S+)\) .*?(40[13] \w+)"
_MISMATCH = r"Hash mismatch for `([^`]+)`,? +Expected: +(\S.*?) +Computed: +(\S+)"
#: How a parser of TOML quotes the line that it does not understand.
_QUOTED_LINE = r"TOML parse error at (line \d+), column \d+ .*\^ "
_CONCLUSION = (
    r",? (?:and|we can conclude that) (?:we can conclude that )?"
    r"your requirements are unsatisfiable\.?$"
)
_SYSTEM_ERRORS = {
    28: "The disk is full. Free some space.",
    122: "The disk quota is used up. Free some space.",
    30: "A directory that uv writes to is on a read-only file system. "
    "Set FAL_CORE_CACHE and UV_CACHE_DIR to other directories.",
    13: "This user may not write to a directory that uv writes to. "
    "Set FAL_CORE_CACHE and UV_CACHE_DIR to other directories.",
}


def build_error(
    kind: str,
    lines: Sequence[str],
    requirements: Sequence[Requirement],
    code: int,
    *,
    where: str = "",
    newest: Callable[[str], str | None] | None = None,
) -> EnvironmentBuildError:
    """
    Return the error for a uv that failed.

    Arguments:
        kind: The kind of the environment that was being built.

        lines: The output of uv.

        requirements: What uv was to install.

        code: The exit code of uv.

        where: Where uv looked for packages, as in ``on the default index``.

        newest: Returns the newest version of a package, if it is known.
    """
    chain, _ = _split(lines)
    requirement = _find_culprit(" ".join(chain) or "\n".join(lines), requirements)
    system_reason = _system_reason(lines)
    if requirement is None and system_reason is None:
        requirement = _only_unnamed(requirements)
    return EnvironmentBuildError(
        kind,
        url_credentials.mask(
            system_reason
            or _with_refusal(
                _plain_reason(chain, where, newest) or _reason(chain, code), chain, lines
            )
        ),
        url_credentials.mask(requirement.text) if requirement is not None else None,
        _last(lines),
        # Lines that the reason repeats are left out of the message.
        _last(lines_beside_reason(lines)) if system_reason is None else None,
    )


def is_error(line: str) -> bool:
    """Tell whether *line* begins uv's description of its failure."""
    return re.fullmatch(_ERROR, line) is not None


def is_unsolved(lines: Sequence[str]) -> bool:
    """Tell whether uv found no versions that fit, which newer data of the index may change."""
    chain, _ = _split(lines)
    because = [line for line in chain if line.startswith("Because ")]
    return any("was not found in the package registry" not in line for line in because)


def lines_beside_reason(lines: Sequence[str]) -> list[str]:
    """Return the output of a failed uv, without the lines that are in the error's reason."""
    _, numbers = _split(lines)
    return [line for number, line in enumerate(lines) if number not in numbers]


def _last(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if line.strip())[-LAST_LINES:]


def _split(lines: Sequence[str]) -> tuple[list[str], set[int]]:
    """Return the error and its causes, each as one line, and the numbers of their lines."""
    chain: list[str] = []
    numbers: set[int] = set()
    quoting = False
    for number, line in enumerate(lines):
        start = re.fullmatch(_ERROR, line)
        cause = re.fullmatch(_CAUSE, line) if chain else None
        if start is not None or cause is not None:
            found = start or cause
            assert found is not None
            chain.append(found[1].strip())
            numbers.add(number)
            quoting = False
        elif chain and not quoting:
            continued = line.strip(" │")
            # The output of a program follows the cause that quotes it.
            quoting = (
                not continued
                or continued.startswith(("[", "---"))
                or bool(re.match(_HINT, line))
            )
            if not quoting:
                chain[-1] = f"{chain[-1]} {continued}"
                numbers.add(number)
    return chain, numbers


def _reason(chain: Sequence[str], code: int) -> str:
    because = next((part for part in chain if part.startswith("Because ")), None)
    if because is not None:
        sentence = re.sub(_CONCLUSION, "", because.removeprefix("Because ")).rstrip(".,")
        return f"{sentence}."
    if not chain:
        # The shell around uv adds 128 to the number of a signal.
        how = f"signal {code - 128}" if code > 128 else f"code {code}"
        return f"uv ended with {how} and gave no reason."
    whole = ": ".join(part.rstrip(".:") for part in chain) + "."
    return re.sub(_QUOTED_LINE, r"\1: ", whole)


def _with_refusal(reason: str, chain: Sequence[str], lines: Sequence[str]) -> str:
    """
    Return *reason*, with an index that wants other credentials, if there is one.

    uv takes its packages for absent, and asks no further index for them. Some indexes answer
    403 for what they do not have.
    """
    refused = next(filter(None, (re.search(_REFUSED, line) for line in lines)), None)
    if refused is None:
        return reason
    index, answer = refused.groups()
    absent = re.search(_ABSENT, " ".join(chain))
    if absent is not None and answer.startswith("403"):
        return (
            f"Package {absent[1]!r} was not found, and index {index} answers {answer}. Check "
            "the name, and the credentials of the index."
        )
    sentence = f"Index {index} answers {answer}. Check its credentials."
    return f"{reason} {sentence}" if absent is None else sentence


def _plain_reason(
    chain: Sequence[str], where: str, newest: Callable[[str], str | None] | None
) -> str | None:
    """
    Return the reason if it is a package, a version, a file or a server that is not there or not
    as it should be, else None.
    """
    whole = " ".join(chain)
    if (unreached := re.search(_UNREACHED, whole)) is not None:
        why = re.sub(rf"^.*{_UNREACHED}[:\s]*", "", chain[-1]).rstrip(".")
        is_untrusted = "certificate" in why
        advice = (
            "Name the certificates to trust with SSL_CERT_FILE."
            if is_untrusted
            else "Check the address of the index, and the network."
        )
        cause = f": {why}" if why else ""
        return f"{unreached[1]} cannot be fetched{cause}. {advice}"
    # Programs that a build starts say the same of their own arguments, below another error.
    if len(chain) == 1 and (unknown := re.match(_TOO_OLD, whole)) is not None:
        return (
            f"uv is too old, it does not know {(unknown[1] or unknown[2])!r}. Run "
            "'pip install --upgrade uv'."
        )
    if (mismatch := re.search(_MISMATCH, whole)) is not None:
        name, expected, computed = mismatch.groups()
        return (
            f"Hash mismatch: the file of {name} has {computed}, and {expected} was locked. If "
            "it may have changed, make the lock anew."
        )
    if "needs to be updated, but `--locked`" in whole:
        return (
            "its lock is older than what it requires now. Run 'uv lock', or write frozen=True "
            "to use the lock as it is."
        )
    absent = re.search(_ABSENT, whole)
    if absent is not None:
        looked = f" (looked {where})" if where else ""
        if absent[2]:
            return f"No package is called {absent[1]!r}, which {absent[2]} requires{looked}."
        return f"No package is called {absent[1]!r}{looked}."
    older = re.search(_OLDER, whole)
    if older is not None and older[1] == older[3]:
        return f"{older[1]} has no version {older[4]}; the newest is {older[2]}."
    version = re.search(_NO_VERSION, whole)
    if version is None or newest is None:
        return None
    name, number, asked_name, asked = version.groups()
    known = newest(name) if (name, number) == (asked_name, asked) else None
    return f"{name} has no version {number}; the newest is {known}." if known else None


def _system_reason(lines: Sequence[str]) -> str | None:
    """Return the meaning of the last system error number in *lines*; None without one."""
    for line in reversed(lines):
        if (found := re.search(r"\(os error (\d+)\)", line)) is not None:
            return _SYSTEM_ERRORS.get(int(found[1]))
    return None


def _find_culprit(text: str, requirements: Sequence[Requirement]) -> Requirement | None:
    """
    Return the requirement that *text* is about.

    One that *text* quotes word for word comes before one whose package it names.
    """
    from packaging.utils import canonicalize_name

    for requirement in requirements:
        plain = requirement.text.partition(";")[0].strip()
        quoted = r"\s*".join(re.escape(part) for part in re.findall(r"[\w.*+!-]+|\S", plain))
        is_name = requirement.form == "index" and (
            canonicalize_name(plain) == requirement.normalised_name
        )
        if not is_name and re.search(rf"(?<![\w.-]){quoted}(?![\w.])", text):
            return requirement
        if requirement.path is not None and requirement.path in text:
            return requirement
    words: list[str] = [
        canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9][\w.-]*", text)
    ]
    places = [
        (words.index(name), position)
        for position, requirement in enumerate(requirements)
        for name in _package_names(requirement)
        if name in words
    ]
    return requirements[min(places)[1]] if places else None


def _only_unnamed(requirements: Sequence[Requirement]) -> Requirement | None:
    """
    Return the only requirement that uv may have built from source, or that is a lock; None if
    there are several.

    If one fails, uv may not name the project, which may have no name, and knows the lock by
    another path.
    """
    forms = ("path", "editable", "address", "settled")
    built = [each for each in requirements if each.form in forms]
    return built[0] if len(built) == 1 else None


def _package_names(requirement: Requirement) -> Iterable[str]:
    """Return the normalised names of the packages that *requirement* asks for."""
    from packaging.utils import canonicalize_name

    if requirement.normalised_name is not None:
        return [requirement.normalised_name]
    if requirement.form != "file" or requirement.path is None:
        return []
    try:
        with open(requirement.path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return []
    found = re.findall(r"^[\s\"']*([A-Za-z0-9][\w.-]*)", text, flags=re.MULTILINE)
    return [canonicalize_name(name) for name in found]
