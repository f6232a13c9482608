"""Files in TOML: where in them a value is written."""

from __future__ import annotations

import pytest

from fal_machines.toml_files import find_line, parse_toml

TEXT = """\
# machines.XS.price
[project]
name = "machines"

[tool.fal-core.machines.BIG] # mine
cpus = 16
'memory' = "1 GB"

[tool."fal-core".machines]
XS = { price = 0.5, cpus = 1 }
S.price = 1
"GPU 1".gpus = 1

[[tool.others]]
cpus = 3
"""


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("project", "name"), 3),
        (("tool", "fal-core", "machines", "BIG"), 5),
        (("tool", "fal-core", "machines", "BIG", "cpus"), 6),
        (("tool", "fal-core", "machines", "BIG", "memory"), 7),
        (("tool", "fal-core", "machines", "XS"), 10),
        (("tool", "fal-core", "machines", "XS", "cpus"), 10),
        (("tool", "fal-core", "machines", "S", "price"), 11),
        (("tool", "fal-core", "machines", "GPU 1", "gpus"), 12),
        (("tool", "fal-core", "machines", "BIG", "absent"), 5),
        (("nothing",), None),
    ],
    ids=str,
)
def test_values_are_found_where_they_are_written(
    names: tuple[str, ...], line: int | None
) -> None:
    """The line of a value is found, or that of the table around it, however keys are written."""
    assert find_line(TEXT, names) == line
    assert parse_toml(TEXT)["tool"]["fal-core"]["machines"]["XS"]["cpus"] == 1
