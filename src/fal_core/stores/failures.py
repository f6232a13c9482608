"""
Failures of builds: who waited for a build takes the error that it ended with.

It is left beside the lock of the build, for this user alone, until a build succeeds. A key has
no credentials in it, so an error is taken only on the terms on which it came about: the same
credentials and the same environment variables, of which a keyed digest is left with it.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import stat
from typing import Any

import attrs

from fal_core.caches import cache_directory, new_file, remove_quietly, write_atomically
from fal_core.errors import EnvironmentBuildError
from fal_core.facts import facts_of, with_facts
from fal_core.reprs import show_fields

#: The end of the name of a file with a failure, after the path of the lock.
FAILURE = ".failure"

#: The most bytes of a failure that are kept, and of one of its texts.
_MOST, _MOST_OF_TEXT = 65_536, 8_192
#: How many lines are kept, the last ones.
_MOST_LINES = 20

#: The facts of an error, by which it is written down.
_FACTS = facts_of(EnvironmentBuildError)

#: The file in the cache that digests of terms are keyed by.
_SECRET = "failures.secret"
_SECRET_SIZE = 32

#: Variables that differ between the processes of one program or one terminal, and say
#: nothing of what a builder may read.
_OF_PROCESSES = re.compile(
    r"_|PWD|OLDPWD|SHLVL|TERM\w*|COLUMNS|LINES|WINDOWID|TMUX\w*|STY|SSH_(TTY|CLIENT|CONNECTION)"
    r"|PYTEST_\w+|CUDA_VISIBLE_DEVICES|FAL_(?!KEY)\w+|SLURM\w*|PMI\w*|OMPI_\w+|RAY_\w+"
    r"|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|SYSTEMD_EXEC_PID"
)

#: What tells one file from another that has the same path later.
_Stamp = tuple[int, int]


@attrs.define
class Failures:
    """
    What builds under one lock fail with, as seen by one process that needs what is built.

    Attributes:
        lock: The path of the lock.

        terms: What the build depends on beside its key, such as credentials.
    """

    __repr__ = show_fields

    lock: str
    terms: object = attrs.field(default=None, repr=False)
    _seen: _Stamp | None = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._seen = self._stamp()

    def raise_new(self) -> None:
        """
        Raise the error of a build that has failed since this was made, on the same terms.

        Raises:
            EnvironmentBuildError: There is one.
        """
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        error = self._read()
        if error is not None:
            raise error

    def keep(self, error: EnvironmentBuildError) -> None:
        """Leave *error* to those who wait."""
        try:
            terms = self._digest(_read_secret() or _make_secret())
            content = _write(error, terms)
            if len(content) > _MOST:
                content = _write(with_facts(error, lines=(), unsaid=()), terms)
            write_atomically(self._path, content, mode=0o600, durable=False)
        except (OSError, TypeError):
            pass  # As on a full disk, or with odd facts: those who wait try for themselves.

    def forget(self) -> None:
        """Remove the error of an earlier build, since one has succeeded."""
        remove_quietly(self._path)

    @property
    def _path(self) -> str:
        return f"{self.lock}{FAILURE}"

    def _stamp(self) -> _Stamp | None:
        try:
            found = os.lstat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> EnvironmentBuildError | None:
        """Return the error that is kept; None if there is none on the same terms."""
        content, secret = _read_private(self._path), _read_secret()
        if content is None or secret is None:
            return None
        try:
            found = json.loads(content)
            if not hmac.compare_digest(str(found["terms"]), self._digest(secret)):
                return None
            facts: dict[str, Any] = {
                name: tuple(fact) if isinstance(fact, list) else fact
                for name, fact in found["facts"].items()
            }
            return EnvironmentBuildError(**facts)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None  # Another version has written it.

    def _digest(self, secret: bytes) -> str:
        """Return the digest of the terms of this process, keyed by *secret*."""
        variables = sorted(
            (name, value)
            for name, value in os.environ.items()
            if not _OF_PROCESSES.fullmatch(name)
        )
        terms = repr((self.lock, self.terms, variables))
        return hmac.digest(secret, terms.encode(), "sha256").hex()


def _write(error: EnvironmentBuildError, terms: str) -> bytes:
    facts = {name: _cut(getattr(error, name)) for name in _FACTS}
    text = json.dumps({"terms": terms, "facts": facts}, ensure_ascii=False)
    return text.encode(errors="replace")


def _cut(fact: Any) -> Any:
    """Return *fact*, as much of it as is kept."""
    if isinstance(fact, str):
        return fact if len(fact) <= _MOST_OF_TEXT else f"{fact[:_MOST_OF_TEXT]}…"
    return None if fact is None else [_cut(line) for line in fact[-_MOST_LINES:]]


def _read_private(path: str) -> bytes | None:
    """Return what is in the file *path*; None unless it is a small one of this user alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        is_private = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not is_private or not stat.S_ISREG(found.st_mode) or found.st_size > _MOST:
            return None
        return stream.read(_MOST)


def _read_secret() -> bytes | None:
    secret = _read_private(os.path.join(cache_directory(), _SECRET))
    return secret if secret is not None and len(secret) == _SECRET_SIZE else None


def _make_secret() -> bytes:
    """Make the secret of this cache, unless another process does so meanwhile; return it."""
    path = os.path.join(cache_directory(make=True), _SECRET)
    with new_file(path) as new:
        write_atomically(new, os.urandom(_SECRET_SIZE), mode=0o600)
        try:
            os.link(new, path)
        except FileExistsError:
            pass
    secret = _read_secret()
    if secret is None:
        raise OSError(f"{path} is not a secret of this user alone")
    return secret
