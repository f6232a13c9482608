"""
Build contexts: the files of clients that their Dockerfiles copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from fal_server.errors import TooLarge
from fal_server.limits import Limits, option_of, write_size
from fal_server.specs.runner_specs import RunnerSpec, read_spec
from fal_server.state.bodies import translated
from fal_server.store.uploads import AppFiles, new_id

#: The hashes of files and their paths, as a request names them.
Files = tuple[tuple[str, str], ...]

#: Seconds after which a directory that nothing was built of is deleted.
_KEPT = 24 * 3600.0


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

    def folder_of(self, account_id: str, files: Files) -> Path:
        """
        Return the directory of *files*, which may not be there yet.
        """
        name = hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()
        return self.folder / quote(account_id, safe="") / name

    def read(self, request: Any, account_id: str) -> RunnerSpec:
        """
        Return what a run or a registration of an account asks to run, in an environment that
        is built of the files that its client has sent.

        Raises:
            Invalid: It is not complete, or asks for what this server does not have.
        """
        return read_spec(request, account_id, self.folder_of)

    async def prepare(self, spec: RunnerSpec) -> None:
        """
        Have the files there that the environment of *spec* is built of, if there are any.

        Raises:
            NotFound: The account has not sent a file.

            TooLarge: They are too many or too large.

            StorageFull: The disk is full.
        """
        if spec.environment.isolates_files:
            await self.place(spec.owner, spec.files)

    async def place(self, account_id: str, files: Files) -> None:
        """
        Have the directory of *files* there, for a day at least.

        Raises:
            NotFound: The account has not sent a file.

            TooLarge: They are too many or too large.

            StorageFull: The disk is full.
        """
        limits, target = self.limits, self.folder_of(account_id, files)
        if len(files) > limits.most_image_files:
            raise TooLarge(
                f"The Dockerfile copies {len(files)} files, and may copy "
                f"{limits.most_image_files}. Leave some out with a .dockerignore; the operator "
                f"of the server can allow more with {option_of('most_image_files')}."
            )
        with contextlib.suppress(FileNotFoundError), translated():
            os.utime(target)
            return
        made = target.with_name(f"new-{new_id()}")
        try:
            with translated():
                made.mkdir(parents=True, mode=0o700)
            try:
                largest = limits.largest_image_files
                await self.files.place(account_id, files, made, largest=largest, shares=True)
            except TooLarge as error:
                raise TooLarge(
                    "The files that the Dockerfile copies have more than "
                    f"{write_size(limits.largest_image_files)} together. Leave some out with a "
                    ".dockerignore; the operator of the server can allow more with "
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
        for folder in self._list():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > _KEPT:
                    # At once, so that none is found that lacks files.
                    dropped = folder.rename(folder.with_name(f"old-{new_id()}"))
                    shutil.rmtree(dropped, ignore_errors=True)

    def _list(self) -> Iterator[Path]:
        for account in self.folder.iterdir() if self.folder.is_dir() else ():
            yield from account.iterdir()


def _put_in_place(made: Path, target: Path) -> None:
    """
    Rename the directory *made* to *target*, unless another request has made that meanwhile.
    """
    with translated():
        for folder, _, _ in os.walk(made):
            # Permissions of directories are part of an image, whatever those of new ones are.
            os.chmod(folder, 0o755)
        try:
            os.rename(made, target)
        except OSError:
            if not target.is_dir():
                raise
