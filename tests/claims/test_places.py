"""The directory of claims: it is shared with users who may be anybody."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core.claims import (
    ClaimsUnavailable,
    DevicesHeld,
    Want,
    claim_devices,
    claims_directory,
)
from fal_core.claims.places import lock_file, name_of, open_directory, release
from fal_testing.harness.devices import gpu, machine_with

pytestmark = pytest.mark.faults

ONE = [Want(count=1)]
FILE = name_of("GPU-0")


def test_all_users_may_use_what_one_has_made(directory: Path) -> None:
    """Whatever the mask of a process is, others can lock the files it has made."""
    before = os.umask(0o077)
    try:
        with machine_with(gpu(0)):
            claim_devices(ONE).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o1777
    assert stat.S_IMODE((directory / FILE).stat().st_mode) == 0o666


def test_the_directory_is_the_same_for_all_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable it depends on the machine alone, and any user can make it."""
    monkeypatch.delenv("FAL_CORE_CLAIMS")
    parent = claims_directory().parent
    assert parent.stat().st_mode & 0o1777 == 0o1777


def test_root_takes_over_what_others_could_remove(directory: Path, tmp_path: Path) -> None:
    """
    Whoever made the directory, or a file in it, cannot remove what root has locked: whoever
    came next would be given the same device.
    """
    if os.geteuid():
        pytest.skip("Only root can take files over.")
    with machine_with(gpu(0)):
        claim_devices(ONE).release()
        other = tmp_path / "other"
        other.touch()
        os.link(other, directory / "linked.lock")
        for path in (directory, directory / FILE, other):
            os.chown(path, 65534, 65534)
        claim = claim_devices(ONE)
        with open_directory() as opened:
            linked = lock_file(opened, "linked.lock", shared=False)
        assert linked is not None
        try:
            assert directory.stat().st_uid == (directory / FILE).stat().st_uid == 0
            # It may be any file of that user.
            assert other.stat().st_uid == 65534
        finally:
            release(linked)
            claim.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_another_user_meets_the_claim(directory: Path) -> None:
    """A process of another user is not given what is held, though it did not make the file."""
    if os.geteuid():
        pytest.skip("Only root can become another user.")
    for folder in directory.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    with machine_with(gpu(0), gpu(1)):
        held = claim_devices(ONE)
        child = os.fork()
        if not child:
            code = 1
            try:
                os.setuid(65534)
                code = claim_devices(ONE, wait=0).devices[0].index + 10
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        # What the other user has locked was free again when it ended.
        both = claim_devices([Want(count=1)], wait=0)
    assert os.waitstatus_to_exitcode(status) == 11
    held.release()
    both.release()


def test_a_link_in_place_of_a_file_is_not_followed(directory: Path, tmp_path: Path) -> None:
    """A link is refused by name, and what it leads to stays as it is."""
    precious = tmp_path / "precious"
    precious.write_text("kept")
    directory.mkdir()
    (directory / FILE).symlink_to(precious)
    with machine_with(gpu(0)), pytest.raises(ClaimsUnavailable, match="is a link"):
        claim_devices(ONE)
    assert precious.read_text() == "kept"


def test_a_file_with_two_names_is_not_written(directory: Path, tmp_path: Path) -> None:
    """A hard link to a file of the user's is locked, and stays as it is."""
    precious = tmp_path / "precious"
    precious.write_text("kept")
    directory.mkdir()
    os.link(precious, directory / FILE)
    with machine_with(gpu(0)):
        claim_devices(ONE).release()
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused(directory: Path, make: Callable[[Path], None]) -> None:
    """Something else in place of a file is an error that names it, and nothing waits for it."""
    directory.mkdir()
    make(directory / FILE)
    with machine_with(gpu(0)), pytest.raises(ClaimsUnavailable, match=FILE):
        claim_devices(ONE)


@pytest.mark.parametrize("place", ["file", "link"])
def test_a_directory_that_is_none_is_refused(directory: Path, place: str) -> None:
    """A directory of claims that is a file or a link is an error with what to do."""
    if place == "link":
        directory.symlink_to(directory.parent)
    else:
        directory.write_text("")
    with machine_with(gpu(0)), pytest.raises(ClaimsUnavailable, match="FAL_CORE_CLAIMS"):
        claim_devices(ONE)


def test_a_file_that_is_removed_while_it_is_held_is_made_again(directory: Path) -> None:
    """A program that cleans up may remove files; later claims meet each other all the same."""
    with machine_with(gpu(0)):
        claim_devices(ONE).release()
        (directory / FILE).unlink()
        held = claim_devices(ONE)
        assert (directory / FILE).exists()
        held.release()


def test_what_a_file_says_is_not_trusted(directory: Path) -> None:
    """Whatever others have written into the file of a device, the error is a sentence."""
    from fal_core.claims import DevicesHeld

    with machine_with(gpu(0)):
        held = claim_devices(ONE)
        for written in ("", "\0" * 5000, '{"process": "\\n", "user": 1, "since": "x"}', "[1]"):
            (directory / FILE).write_text(written)
            with pytest.raises(DevicesHeld, match="held by another process"):
                claim_devices(ONE, wait=0)
        held.release()


def test_names_of_devices_stay_in_the_directory() -> None:
    """Whatever a vendor calls a device, its file has a name of one part."""
    names = [name_of(uuid) for uuid in ("MIG-GPU-1/2/3", "..", "a" * 400, "GPU-0")]
    assert all("/" not in name and len(name) < 256 for name in names)
    assert len(set(names)) == 4


def test_a_directory_with_other_files_is_not_opened_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable may name a directory of the user's by mistake, such as the home directory."""
    home = tmp_path / "home"
    home.mkdir(0o750)
    (home / "diary.txt").write_text("private")
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(home))
    with machine_with(gpu(0)), pytest.raises(ClaimsUnavailable, match="has other files"):
        claim_devices(ONE)
    assert stat.S_IMODE(home.stat().st_mode) == 0o750


def test_what_another_user_has_written_is_not_relied_on(directory: Path) -> None:
    """A file that says nothing sensible about its holder is that of another process."""
    with machine_with(gpu(0)):
        claim = claim_devices(ONE)
        for text in ("[" * 1000, '{"process": 1, "user": "a", "since": 1e300}', "x"):
            (directory / FILE).write_text(text)
            with pytest.raises(DevicesHeld, match="is held by another process"):
                claim_devices(ONE, wait=0)
        claim.release()
