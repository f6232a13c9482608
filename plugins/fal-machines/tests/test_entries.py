"""Entries: machine types as users write them."""

from __future__ import annotations

import pickle

import pytest

from fal_core.errors import OptionError
from fal_core.machines import Machine
from fal_machines.entries import Document, MachineFileError

KNOWN = {
    "XS": Machine(name="XS", cpus=0.5, memory=512_000_000, source="a page"),
    "GPU-H100": Machine(name="GPU-H100", gpus=1, gpu_model="H100"),
}
TABLE = ("machines",)


def read(text: str) -> dict[str, Machine]:
    """Return the machine types of a file with *text*."""
    return dict(Document.parse("machines.toml", TABLE, text.encode()).read(KNOWN))


def test_a_type_of_ones_own_has_what_is_stated() -> None:
    """Everything that a machine has can be stated, sizes with their unit or in bytes."""
    found = read(
        """
        [machines.BIG]
        cpus = 16
        memory = "64 GiB"
        gpus = 2
        gpu_model = "RTX 4090"
        gpu_memory = 24_000_000_000
        compute_capability = "8.9"
        price = 1.25
        """
    )
    assert found["BIG"] == Machine(
        name="BIG",
        cpus=16,
        memory=64 << 30,
        gpus=2,
        gpu_model="RTX 4090",
        gpu_memory=24_000_000_000,
        compute_capability="8.9",
        price=1.25,
        source="machines.toml",
    )
    assert list(found) == [*KNOWN, "BIG"]


def test_a_known_type_gets_what_is_stated_over_what_is_known() -> None:
    """A price, or another size, is added to a type of the catalogue; both sources are named."""
    found = read("[machines]\nXS = { price = 0, memory = '1 GB' }")["XS"]
    assert (found.price, found.memory, found.cpus) == (0, 1_000_000_000, 0.5)
    assert found.source == "a page, machines.toml"
    assert read("[machines.XS]\nsource = 'my cluster'")["XS"].source == "my cluster"


def test_nothing_is_stated_by_a_name_alone() -> None:
    """A name may be declared so that it is known, with nothing stated."""
    found = read("[machines.HERE]")["HERE"]
    assert found == Machine(name="HERE", source="machines.toml")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("[machines.A]\ncpu = 1", 2, "Unknown key 'cpu'. Did you mean 'cpus'?"),
        ("[machines.A]\nzone = 1", 2, "Unknown key 'zone'. A machine type may state cpus, "),
        ("[machines.A]\n\ncpus = 0", 3, "'cpus' must be a number above 0, as in 0.5 or 8, "),
        ("[machines.A]\ncpus = true", 2, "'cpus' must be a number above 0"),
        ("[machines.A]\ncpus = inf", 2, "'cpus' must be a number above 0"),
        ("[machines.A]\nmemory = '64G'", 2, "'memory' must be a size with its unit"),
        ("[machines.A]\nmemory = '0 GB'", 2, "'memory' must be a size with its unit"),
        ("[machines.A]\nmemory = 1.5", 2, "'memory' must be a size with its unit"),
        ("[machines.A]\ngpus = -1", 2, "'gpus' must be a whole number, as in 1, and not -1."),
        ("[machines.A]\ngpus = 1.0", 2, "'gpus' must be a whole number"),
        ("[machines.A]\nprice = '1'", 2, "'price' must be what an hour costs, a number"),
        ("[machines.A]\nprice = -1", 2, "'price' must be what an hour costs, a number"),
        ("[machines.A]\nsource = ''", 2, "'source' must be text"),
        (
            "[machines.A]\ngpus = 1\ncompute_capability = 9.0",
            3,
            "'compute_capability' must be text, as in \"9.0\", and not 9.0.",
        ),
        ("[machines.A]\ngpu_model = 'L4'", 2, "'gpu_model' goes with 'gpus', as in gpus = 1."),
        ("[machines]\nA = 3", 2, "Machine type 'A' is no table: write [machines.A]."),
        ("[machines.'']", 1, "A machine type needs a name."),
        ("machines = 3", 1, "Machine types are written as tables, [machines.NAME]."),
        ("machines = [", None, "It is no valid TOML: "),
        ("[machines.A]\ncpus = 1\ncpus = 2", None, "It is no valid TOML: "),
    ],
)
def test_a_mistake_is_told_where_it_is(text: str, line: int | None, problem: str) -> None:
    """What is wrong is an error with the file, the line, and what to write instead."""
    with pytest.raises(MachineFileError) as caught:
        read(text)
    error = caught.value
    assert isinstance(error, OptionError)
    assert (error.path, error.line) == ("machines.toml", line)
    assert error.problem.startswith(problem)
    place = "machines.toml" if line is None else f"machines.toml, line {line}"
    assert str(error).startswith(f"{place}: {problem}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_is_not_text_is_no_toml() -> None:
    """A file that is no text is told as that."""
    with pytest.raises(MachineFileError, match="It is no valid TOML"):
        Document.parse("machines.toml", TABLE, b"\xff\xfe")
