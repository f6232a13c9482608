"""What is asked for, and what tells it from other requests."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from fal_core.errors import OptionError
from fal_uv.fields import PackageOptions
from fal_uv.requirements.settled import local_names, locked_names
from fal_uv.testing import write_project


def test_requirements_are_parsed_by_layer() -> None:
    """A request yields parsed entries, with or without their layers."""
    request = PackageOptions(requirements=[["six", "idna"], ["numpy>=2"]]).package_request()
    layers = [[entry.text for entry in layer] for layer in request.parsed_layers()]
    assert layers == [["six", "idna"], ["numpy>=2"]]
    assert [entry.text for entry in request.requirements()] == ["six", "idna", "numpy>=2"]
    assert request
    assert not PackageOptions().package_request()


@pytest.mark.parametrize("editable", [True, False])
def test_sources_of_a_project_count_where_they_are_copied(
    tmp_path: Path, editable: bool
) -> None:
    """An edit of a source builds a project anew, unless that is read in place."""
    folder = tmp_path / "work"
    project = write_project(folder)
    (folder / "uv.lock").write_text('source = { editable = "." }\n')
    request = PackageOptions(project=folder).package_request(editable=editable)
    before = request.fingerprint()
    project.write("value = 2\n")
    assert (request.fingerprint() == before) is editable
    (folder / "uv.lock").write_text('source = { editable = "." }\n# changed\n')
    assert request.fingerprint() != before


def test_every_option_counts() -> None:
    """
    Requests that may install something else have other fingerprints, and credentials are in
    none.
    """
    plain = PackageOptions(requirements=["six"])
    changes: tuple[dict[str, object], ...] = (
        {"requirements": ["six", "idna"]},
        {"index_url": "https://me:hunter2@host/simple"},
        {"extra_index_urls": ["https://me:hunter2@host/simple"]},
        {"torch_backend": "cpu"},
        {"exclude_newer": "7 days"},
    )
    found = [repr(plain.package_request().fingerprint())]
    for change in changes:
        changed = attrs.evolve(plain, **change)  # type: ignore[arg-type]  # Any of them.
        found.append(repr(changed.package_request().fingerprint()))
    assert len({*found}) == len(changes) + 1
    assert not any("hunter2" in each for each in found)


def test_flags_are_what_the_options_are(tmp_path: Path) -> None:
    """
    Flags of pip that name places are the options that name them, and hold for all layers; the
    others stay in their layer.
    """
    index, extra = "https://host/simple", "https://host/extra"
    flagged = PackageOptions(
        requirements=[
            ["--index-url", index, "--extra-index-url", extra],
            ["--pre", "six", f"--find-links={tmp_path}"],
            ["idna"],
        ]
    ).package_request()
    named = PackageOptions(
        requirements=[["--pre", "six"], ["idna"]], index_url=index, extra_index_urls=[extra]
    ).package_request()
    assert attrs.evolve(flagged, find_links=()) == named
    assert flagged.indexes().variables["UV_FIND_LINKS"].split(",")[0] == str(tmp_path)
    assert flagged.fingerprint() != named.fingerprint()


def test_two_indexes_in_place_of_the_usual_one() -> None:
    """Flags that name two, and a flag and the option that do, are refused."""
    urls = "https://host/simple", "https://host/other"
    both = [f"--index-url={url}" for url in urls]
    with pytest.raises(OptionError, match="two indexes with '--index-url'"):
        PackageOptions(requirements=[*both, "six"]).check_packages()
    with pytest.raises(OptionError, match="Leave out one of them"):
        PackageOptions(requirements=[both[0], "six"], index_url=urls[1]).check_packages()
    PackageOptions(requirements=[both[0], "six"], index_url=urls[0]).check_packages()


def test_service_takes_flags_but_no_folders(tmp_path: Path) -> None:
    """
    A service that builds the environment is told of flags, which it knows as pip does, and not
    of a folder of this machine.
    """
    PackageOptions(requirements=["-f", "https://host/links", "six"]).check_for_service()
    with pytest.raises(OptionError, match="names a folder of this machine"):
        PackageOptions(requirements=["-f", str(tmp_path), "six"]).check_for_service()


def test_packages_of_a_lock_that_are_directories() -> None:
    """They are told from those of an index, in whatever way the table is written."""
    text = """\
[[packages]]
name = "one"
directory = { path = "one", editable = true }

[[packages.dependencies]]
name = "two"

[[packages]]
name = "two"
wheels = [{ url = "https://host/two.whl", hashes = { sha256 = "0" } }]

[[packages]]
name = "three"
[packages.directory]
path = "three"
"""
    assert local_names(text) == ["one", "three"]
    assert locked_names(text) == ["one", "two", "three"]


def test_an_edit_of_constraints_changes_the_stamp(tmp_path: Path) -> None:
    """A file of constraints is one of the local files."""
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("six==1.16\n")
    request = PackageOptions(requirements=["six"], constraints_file=constraints)
    before = request.package_request().stamp()
    assert before is not None
    assert request.package_request().stamp() == before
    constraints.write_text("six==1.17.0\n")
    assert request.package_request().stamp() != before
    assert PackageOptions(requirements=["six"]).package_request().stamp() is None
