"""Entry points: found without an import, and kept out by two lists."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from fal_core.plugins.entry_points import EntryPoint, find_entry_points, keeps_out


def test_entry_points_are_those_that_the_standard_library_finds() -> None:
    """The quick scan and importlib.metadata agree on what is installed."""
    expected = {
        (entry.name, entry.value, entry.dist.name, entry.dist.version)
        for entry in importlib.metadata.entry_points(group="fal_core")
        if entry.dist is not None
    }
    assert ("core", "fal_core.plugins.built_in", "fal-core") in {
        entry[:3] for entry in expected
    }
    assert {
        (entry.name, entry.value, entry.distribution, entry.version)
        for entry in find_entry_points()
    } == expected


def test_entry_points_of_every_form_are_found(tmp_path: Path) -> None:
    """Objects, extras, comments, egg-info and archives are read as by the standard library."""
    import zipfile

    first, second, archive = tmp_path / "first", tmp_path / "second", tmp_path / "third.zip"
    texts = {
        first
        / "a_b-2.0.dist-info": "[console_scripts]\nx = y:z\n\n[fal_core]\n# none\na=m.n:o.p\n",
        second / "a_b-1.0.dist-info": "[fal_core]\nold = m\n",
        second / "other.egg-info": "[fal_core]\n  b  =  m.n [extra]\n[other]\nc = d\n",
    }
    for info, text in texts.items():
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(text)
        name, _, version = info.stem.partition("-")
        metadata = "PKG-INFO" if info.suffix == ".egg-info" else "METADATA"
        (info / metadata).write_text(f"Name: {name}\nVersion: {version or '0'}\n")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-3.dist-info/METADATA", "Name: zipped\nVersion: 3\n")
        file.writestr("zipped-3.dist-info/entry_points.txt", "[fal_core]\nz = zipped\n")
    path = [str(first), str(tmp_path / "missing"), str(second), str(archive)]

    found = {(entry.name, entry.value) for entry in find_entry_points(path)}

    assert found == {("a", "m.n:o.p"), ("b", "m.n"), ("z", "zipped")}
    distributions = importlib.metadata.distributions(path=path)
    names: set[str] = set()
    expected = set()
    for distribution in distributions:
        if distribution.metadata["Name"] not in names:
            names.add(distribution.metadata["Name"])
            expected |= {
                (entry.name, entry.value.partition(" [")[0])
                for entry in distribution.entry_points
                if entry.group == "fal_core"
            }
    assert found == expected


@pytest.mark.parametrize(
    ("allowed", "denied", "expected"),
    [
        (None, "", None),
        ("", "", "FAL_CORE_PLUGINS"),
        ("ray", "", None),
        ("fal_host.ray", "", None),
        ("local,  ray ", "", None),
        ("local", "", "FAL_CORE_PLUGINS"),
        (None, "Fal-Host-Ray", "FAL_CORE_PLUGINS_DENY"),
        ("ray", "ray", "FAL_CORE_PLUGINS_DENY"),
    ],
)
def test_lists_name_entry_points_or_distributions(
    allowed: str | None, denied: str, expected: str | None
) -> None:
    """
    Both lists hold either name in any spelling; what is on both is denied.

    The answer is the list that keeps a plugin out.
    """
    variables = {"FAL_CORE_PLUGINS_DENY": denied}
    if allowed is not None:
        variables["FAL_CORE_PLUGINS"] = allowed
    entry = EntryPoint("ray", "fal_host_ray", "fal-host-ray", "1.0")
    assert keeps_out(entry, variables) == expected
