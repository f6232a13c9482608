"""Build contexts: the files of clients that their Dockerfiles copy."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from weakref import WeakValueDictionary

import attrs

from fal_core.environments import Environment
from fal_server.errors import TooLarge, TooMany
from fal_server.limits import Limits, option_of, write_size
from fal_server.specs.file_paths import read_files
from fal_server.specs.requested_environments import read_environment
from fal_server.specs.runner_specs import RunnerSpec, read_spec
from fal_server.state.file_stores import translated
from fal_server.state.tasks import uninterrupted
from fal_server.store.uploads import AppFiles, new_id

T = TypeVar("T")

#: The hashes of files and their paths, as a request names them.
Files = tuple[tuple[str, str], ...]

#: Seconds after which a directory that nothing was built of is deleted, and after which it is
#: where it makes room for another.
_KEPT, _NEEDED = 24 * 3600.0, 3600.0

#: Bytes of the description of an environment that are parsed in no time.
_QUICK = 1 << 15


@attrs.frozen(eq=False)
class BuildContexts:
    """
    The directories that Dockerfiles copy from, each with the files of one account that a
    request has sent, and with nothing else.

    Nothing in them is ever changed, so that files are the stored contents themselves.
    """

    files: AppFiles
    folder: Path
    limits: Limits = attrs.field(factory=Limits)
    #: Held while a directory is found to be used, or not to be.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)
    #: Held while a directory is made.
    _turns: WeakValueDictionary[Path, asyncio.Lock] = attrs.field(
        factory=WeakValueDictionary, init=False, repr=False
    )

    def folder_of(self, account_id: str, files: Files) -> Path:
        """Return the directory of *files*, which may not be there yet."""
        name = hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()
        return self.folder / quote(account_id, safe="") / name

    async def read(self, request: Any, account_id: str) -> RunnerSpec:
        """
        Return what a run or a registration of an account asks to run, in an environment that
        is built of the files that its client has sent.

        Raises:
            Invalid: It is not complete, or asks for what this server does not have.

            TooLarge: The description of its environment is too large.
        """
        return await self._parse(
            request, lambda: read_spec(request, account_id, self.folder_of)
        )

    async def prepare_build(self, request: Any, account_id: str) -> Environment:
        """
        Return the environment that an account asks to build, with the files there that it is
        built of.

        Raises:
            Invalid: It asks for what this server does not have.

            TooLarge: Its description is too large, or so are the files.

            NotFound, TooMany, StorageFull: As :meth:`prepare` does.
        """
        files = read_files((each.hash, each.relative_path) for each in request.files)
        folder = self.folder_of(account_id, files)
        environment = await self._parse(
            request,
            lambda: read_environment(
                request.environments,
                folder,
                request.machine_requirements,
                owner=account_id,
            ),
        )
        if environment.isolates_files:
            await self.place(account_id, files)
        return environment

    async def _parse(self, request: Any, parse: Callable[[], T]) -> T:
        size = sum(each.ByteSize() for each in request.environments)
        largest = self.limits.largest_environment
        if size > largest:
            raise TooLarge(
                f"The description of the environment has {size} bytes, and may have "
                f"{write_size(largest)}. Leave out what it does not need; the operator of the "
                f"server can allow more with {option_of('largest_environment')}."
            )
        # What is large takes long to parse, and nobody else is to wait for that.
        return parse() if size <= _QUICK else await asyncio.to_thread(parse)

    async def prepare(self, spec: RunnerSpec) -> None:
        """
        Have the files there that the environment of *spec* is built of, if there are any.

        Raises:
            NotFound: The account has not sent a file.

            TooLarge: They are too many or too large.

            TooMany: The account has had images built of too many other files.

            StorageFull: The disk is full.
        """
        if spec.environment.isolates_files:
            await self.place(spec.owner, spec.files)

    async def place(self, account_id: str, files: Files) -> None:
        """
        Have the directory of *files* there, for an hour at least.

        Raises:
            NotFound: The account has not sent a file.

            TooLarge: They are too many or too large.

            TooMany: The account has had images built of too many other files.

            StorageFull: The disk is full.
        """
        most, target = self.limits.most_image_files, self.folder_of(account_id, files)
        if len(files) > most:
            raise TooLarge(
                f"The Dockerfile copies {len(files)} files, and may copy {most}. Leave some "
                "out with a .dockerignore; the operator of the server can allow more with "
                f"{option_of('most_image_files')}."
            )
        await self._place_once(account_id, files, target)

    @uninterrupted
    async def _place_once(self, account_id: str, files: Files, target: Path) -> None:
        # Calls of one function ask for the same files at once.
        turn = self._turns.setdefault(target, asyncio.Lock())
        async with turn:
            await self._place(account_id, files, target)

    async def _place(self, account_id: str, files: Files, target: Path) -> None:
        with contextlib.suppress(FileNotFoundError), translated(), self._lock:
            os.utime(target)
            return
        largest, made = self.limits.largest_image_files, target.with_name(f"new-{new_id()}")
        try:
            with translated():
                made.mkdir(parents=True, mode=0o700)
            await asyncio.to_thread(self._make_room, target.parent)
            try:
                await self.files.place(account_id, files, made, largest=largest, shares=True)
            except TooLarge as error:
                raise TooLarge(
                    "The files that the Dockerfile copies have more than "
                    f"{write_size(largest)} together. Leave some out with a .dockerignore; the "
                    f"operator of the server can allow more with "
                    f"{option_of('largest_image_files')}."
                ) from error
            await asyncio.to_thread(_put_in_place, made, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)

    def drop_old(self) -> None:
        """
        Delete the directories that nothing was built of for a day: they are made again where
        they are needed.
        """
        for account in self.folder.iterdir() if self.folder.is_dir() else ():
            for folder in account.iterdir():
                self._drop(folder, kept=_KEPT)

    def _make_room(self, account: Path) -> None:
        """
        Delete directories of an account, those first that were used the longest ago, until
        there are as many as it may have. One that is being made counts, too.

        Raises:
            TooMany: Too many of them may be needed.
        """
        most, used = self.limits.most_build_contexts, []
        for folder in account.iterdir():
            with contextlib.suppress(FileNotFoundError):
                used.append((folder.stat().st_mtime, folder))
        surplus = len(used) - most
        for _, folder in sorted(used) if surplus > 0 else ():
            if surplus > 0 and self._drop(folder, kept=_NEEDED):
                surplus -= 1
        if surplus > 0:
            raise TooMany(
                f"Within an hour, images of this account were built of {most} different sets "
                "of files, and may be of no more. Try again later; the operator of the server "
                f"can allow more with {option_of('most_build_contexts')}."
            )

    def _drop(self, folder: Path, *, kept: float) -> bool:
        """
        Delete *folder* unless something was built of it in the last *kept* seconds, and return
        whether it is gone.
        """
        try:
            with self._lock:
                if time.time() - folder.stat().st_mtime <= kept:
                    return False
                # At once, so that none is found that lacks files.
                dropped = folder.rename(folder.with_name(f"old-{new_id()}"))
        except FileNotFoundError:
            return True
        shutil.rmtree(dropped, ignore_errors=True)
        return True


def _put_in_place(made: Path, target: Path) -> None:
    """Rename the directory *made* to *target*."""
    with translated():
        for folder, _, _ in os.walk(made):
            # Directory permissions are part of an image, and do not depend on the defaults.
            os.chmod(folder, 0o755)
        os.rename(made, target)
