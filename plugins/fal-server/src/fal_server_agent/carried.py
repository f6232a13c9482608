"""What travels to a runner on another machine: the files of its application, and certificates."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

#: Where applications expect the data of their account, and their files.
DATA, FILES = "/data", "/app"


def pack_folder(folder: Path) -> bytes:
    """Return an archive of the files in *folder*."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())
    return packed.getvalue()


def unpack(header: dict[str, Any], parts: Sequence[bytes]) -> dict[str, Any]:
    """
    Return the header of a message as it would be from this machine: what travelled with it is
    put where it says, and removed when this process ends.

    Raises:
        OSError: There is no room, or no right to write.
    """
    carried: Mapping[str, Any] | None = header.get("carried")
    if carried is None:
        return header
    folder = tempfile.mkdtemp(prefix="fal-runner-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bundle = os.path.join(folder, "bundle.pem")
    Path(bundle).write_text(carried["bundle"])
    variables = {
        **(header.get("variables") or {}),
        "SSL_CERT_FILE": bundle,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": bundle,
    }
    if header.get("led"):
        header = {**header, "led": {**header["led"], "bundle": bundle}}
    if carried["is_apart"]:
        return {**header, "variables": variables}
    home = _data_of(carried["account"])
    variables["FAL_CORE_DATA"] = home
    changed: dict[str, Any] = {
        "variables": variables,
        "home": home,
        "mounts": {DATA: home},
        "directories": [
            os.path.join(home, *PurePosixPath(mount).parts[2:])
            for mount in (DATA, *carried["mounts"])
        ],
    }
    if carried["files"] is not None:
        changed["directory"] = files = os.path.join(folder, "files")
        changed["mounts"][FILES] = files
        with zipfile.ZipFile(io.BytesIO(parts[carried["files"]])) as archive:
            archive.extractall(files)
            for each in archive.infolist():
                # Programs stay programs.
                if each.external_attr >> 16 & 0o111:
                    os.chmod(os.path.join(files, each.filename), 0o700)
    return {**header, **changed}


def _data_of(account: str) -> str:
    """Return the directory of the data of an account on this machine, which outlives runners."""
    root = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(root, "fal-core", "runners", account)
