"""Channels by name, URL and folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.errors import OptionError
from fal_env_conda.declaring.channels import (
    Credentials,
    add_credentials,
    check_credentials,
    find_credentials,
    strip,
    strip_all,
    to_urls,
)


def test_names_urls_and_folders_are_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each becomes a URL that ends with a slash, and one that comes twice counts once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    channels = ["bioconda", "https://example.org/c", "./mine", "https://example.org/c/"]
    assert to_urls(channels) == (
        "https://conda.anaconda.org/bioconda/",
        "https://example.org/c/",
        f"{tmp_path.as_uri()}/mine/",
    )


def test_default_channel_is_conda_forge() -> None:
    """Where no channel is named, conda-forge is searched and nothing else."""
    assert (
        to_urls([]) == to_urls(["nodefaults"]) == ("https://conda.anaconda.org/conda-forge/",)
    )


@pytest.mark.parametrize(
    "channel",
    [
        "defaults",
        "anaconda",
        "main",
        "Main",
        "pkgs/main",
        "https://repo.anaconda.com/pkgs/main",
        "http://repo.continuum.io/pkgs/free/",
        "https://conda.anaconda.org/t/tk-1/anaconda",
    ],
)
def test_channels_of_anaconda_are_refused(channel: str) -> None:
    """Nothing is downloaded from a channel whose licence many have to pay for."""
    with pytest.raises(OptionError, match="Name 'conda-forge' in its place") as caught:
        to_urls([channel])
    assert "tk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        ("ftp://host/channel", "begins with 'ftp'"),
        ("two words", "is no name, URL or folder"),
        ("./nowhere", "there is no such folder"),
        ("", "is no name"),
        ("http://[::1", "is no URL: Invalid IPv6 URL"),
        ("http://me:secret@host:port/c", r"is no URL: Port could not be cast"),
        ("http://host/c?d=e", "has a '\\?' or '#'"),
        ("https://packages.example/simple", "is an index of pip"),
        ("https://me:secret@host/team/simple/", r"://\*+@host.* is an index of pip"),
    ],
)
def test_what_is_no_channel_is_refused(channel: str, says: str) -> None:
    """The error says what a channel looks like."""
    with pytest.raises(OptionError, match=says) as caught:
        to_urls([channel])
    assert "secret" not in str(caught.value)


def test_two_credentials_of_one_host_are_refused() -> None:
    """Rattler knows one for each host, and would use it for both channels."""
    with pytest.raises(OptionError, match="different credentials") as caught:
        check_credentials(["https://me:one-secret@host/a", "https://me:two-secret@host/b"])
    assert "secret" not in str(caught.value)


def test_credentials_are_taken_out_of_urls() -> None:
    """A password, a token in place of a user and a token in the path are found and removed."""
    urls = ["https://me:p%40ss@host:8/c/", "https://host2/t/tk-1/c/", "https://tok@host3/c/"]
    assert [strip(url) for url in urls] == [
        "https://host:8/c/",
        "https://host2/c/",
        "https://host3/c/",
    ]
    found = find_credentials(urls)
    assert found == (
        Credentials("host", "me", "p@ss"),
        Credentials("host2", "", "tk-1"),
        Credentials("host3", "", "tok"),
    )
    assert strip_all("p@ss p%40ss tk-1 tok", found) == "*** *** *** ***"
    assert strip_all("told", find_credentials(["https://@host/a"])) == "told"
    assert "p@ss" not in repr(found)


def test_credentials_are_added_for_their_host() -> None:
    """A URL gets those of its host, in the place where they were written."""
    known = find_credentials(["https://me:a%2Fb@one/c", "https://two/t/tk-1/c"])
    assert add_credentials("https://one/c/x.whl", known) == "https://me:a%2Fb@one/c/x.whl"
    assert add_credentials("https://two/c/x.whl", known) == "https://two/t/tk-1/c/x.whl"
    assert add_credentials("https://three/x.whl", known) == "https://three/x.whl"
    assert add_credentials("file:///c/x.whl", known) == "file:///c/x.whl"
