"""Compiled kernels of PyTorch, kept for the next runner of the same GPU."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fal_serve.media.places import PERSISTENT, find_place

_KEPT = PERSISTENT / "inductor-caches"
_KEY = re.compile(r"[0-9A-Za-z._-]+(/[0-9A-Za-z._-]+)*")


def get_gpu_type() -> str:
    """Return the model of this machine's GPU, as in ``H100``; ``UNKNOWN`` without one."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return "UNKNOWN"
    found = re.search(r"NVIDIA ([a-zA-Z0-9]+)", told)
    return found.group(1) if found else "UNKNOWN"


def load_inductor_cache(cache_key: str) -> str:
    """
    Unpack the kernels that an earlier runner has compiled, where PyTorch looks for them.

    Returns a digest of what is there, for ``sync_inductor_cache``: empty if there was
    nothing.
    """
    folder = _local_folder()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    kept = _kept_archive(cache_key)
    if not kept.exists():
        print(f"There are no compiled kernels at {kept}.", flush=True)
        return ""
    try:
        shutil.unpack_archive(kept, folder, "zip")
    except (OSError, shutil.ReadError, ValueError) as error:
        print(f"The compiled kernels at {kept} cannot be unpacked: {error}.", flush=True)
        return ""
    return _digest_of(folder)


def sync_inductor_cache(cache_key: str, unpacked_dir_hash: str) -> None:
    """Keep what PyTorch has compiled since ``load_inductor_cache`` returned *unpacked_dir_hash*."""
    folder = _local_folder()
    if not folder.exists() or _digest_of(folder) == unpacked_dir_hash:
        return
    kept = _kept_archive(cache_key)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as beside:
            made = shutil.make_archive(str(Path(beside) / "kernels"), "zip", folder)
            os.replace(made, kept)
    except OSError as error:
        print(f"The compiled kernels cannot be kept at {kept}: {error}.", flush=True)


@contextlib.contextmanager
def synchronized_inductor_cache(cache_key: str) -> Iterator[None]:
    """Load compiled kernels, and keep those that are compiled meanwhile."""
    unpacked = load_inductor_cache(cache_key)
    try:
        yield
    finally:
        sync_inductor_cache(cache_key, unpacked)


def _local_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"inductor-cache-{os.getuid()}"


def _kept_archive(key: str) -> Path:
    if not _KEY.fullmatch(key) or ".." in key.split("/"):
        raise ValueError(f"{key!r} is no key of a cache. Write one as in 'model/v1'.")
    return find_place(_KEPT / get_gpu_type() / f"{key}.zip")


def _digest_of(folder: Path) -> str:
    names = sorted(str(each) for each in folder.rglob("*") if each.is_file())
    return hashlib.sha256("".join(names).encode()).hexdigest()
