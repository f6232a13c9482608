"""Tensors of torch: their storages travel once, and as far as the tensors cover them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from fal_core_worker.buffers.libraries import BUFFER_SIZE

torch = pytest.importorskip("torch", reason="needs torch: FAL_CORE_TORCH=... dev.py tensors")

#: Elements of a large tensor of bytes, and of a small one.
LARGE, SMALL = BUFFER_SIZE, 24


class Plain(torch.Tensor):  # type: ignore[misc]
    pass


class Watched(torch.Tensor):  # type: ignore[misc]
    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return super().__torch_function__(func, types, args, kwargs or {})


#: Makes a tensor of so many elements, by what is special about it.
MAKERS: dict[str, Callable[[int], Any]] = {
    "float": lambda count: torch.arange(float(count)),
    "bfloat16": lambda count: torch.arange(count).to(torch.bfloat16),
    "bool": lambda count: torch.arange(count) % 2 == 0,
    "complex": lambda count: torch.arange(count) * 1j,
    "uint16": lambda count: torch.arange(count).to(torch.uint16),
    "float8": lambda count: torch.ones(count).to(torch.float8_e4m3fn),
    "transposed": lambda count: torch.arange(count).reshape(2, -1).t(),
    "every other": lambda count: torch.arange(2 * count)[::2],
    "expanded": lambda count: torch.arange(count // 2).expand(2, -1),
    "channels last": lambda count: (
        torch.arange(count).reshape(1, 4, 2, -1).to(memory_format=torch.channels_last)
    ),
    "slice": lambda count: torch.arange(4 * count)[count + 1 : 2 * count + 1],
    "with a gradient": lambda count: torch.arange(float(count), requires_grad=True),
    "computed": lambda count: torch.arange(float(count), requires_grad=True) * 2,
    "parameter": lambda count: torch.nn.Parameter(torch.arange(float(count))),
    "frozen parameter": lambda count: torch.nn.Parameter(torch.arange(count), False),
    "subclass": lambda count: torch.arange(count).as_subclass(Plain),
    "of NumPy": lambda count: torch.from_numpy(pytest.importorskip("numpy").arange(count)),
    "shared": lambda count: torch.arange(count).share_memory_(),
}


@pytest.mark.parametrize("count", [LARGE, SMALL, 8])
@pytest.mark.parametrize("name", MAKERS)
def test_tensors_arrive_as_they_are(name: str, count: int, travel: Any) -> None:
    """
    Elements, type, strides and whether a gradient is wanted are those of the tensor; it can
    be written to, and a large one is in no pickle.
    """
    tensor = MAKERS[name](count)
    arrived = travel({"a": [tensor]})["a"][0]
    assert type(arrived) is type(tensor)
    assert (arrived.dtype, arrived.shape) == (tensor.dtype, tensor.shape)
    assert arrived.stride() == tensor.stride()
    assert arrived.requires_grad is tensor.requires_grad
    assert arrived.is_leaf
    assert arrived.tolist() == tensor.tolist()
    if count == LARGE:
        assert travel.size - sum(travel.sizes) < 1000
        assert travel.sizes[0] < tensor.element_size() * (2 * count + 64)
    with torch.no_grad():
        arrived.zero_()
    assert not any(arrived.reshape(-1).tolist())
    assert any(tensor.reshape(-1).tolist())


@pytest.mark.parametrize("count", [0, 1])
def test_the_least_tensors(count: int, travel: Any) -> None:
    """Tensors without elements, and without dimensions, arrive too."""
    large = torch.arange(LARGE)
    for tensor in (large[:0], large[5:5].reshape(0, 3), torch.tensor(2.5), large[:count]):
        arrived = travel(tensor)
        assert arrived.shape == tensor.shape
        assert arrived.tolist() == tensor.tolist()
        assert travel.size < 1000


def test_tensors_of_one_storage_share_it(travel: Any) -> None:
    """
    Memory that several tensors of a value have in common travels once, and they have it in
    common at the other end.
    """
    whole = torch.zeros(LARGE)
    value = {"a": whole, "b": [whole[5:10], whole.reshape(2, -1).t()], "c": whole[LARGE // 2 :]}
    arrived = travel(value)
    assert sum(travel.sizes) < whole.nbytes + 64
    arrived["a"][7] = 1
    assert arrived["b"][0][2] == 1
    assert arrived["b"][1][7][0] == 1
    arrived["c"][0] = 2
    assert arrived["a"][LARGE // 2] == 2


def test_tensors_of_different_calls_share_nothing(travel: Any) -> None:
    """In what many calls are given together, each tensor has memory of its own, and no more."""
    whole = torch.zeros(2 * LARGE)
    first, second = travel([whole[: LARGE + 5], whole[LARGE:]], apart=True)
    assert travel.size < whole.nbytes + 2000
    first += 1
    assert not second.any()


def test_only_what_tensors_cover_travels(travel: Any) -> None:
    """Rows of a large tensor take no more than their size, together or alone."""
    whole = torch.arange(64 * LARGE, dtype=torch.int16).reshape(64, -1)
    row = travel(whole[9])
    assert torch.equal(row, whole[9])
    assert travel.size < whole[9].nbytes + 1000
    rows = travel([whole[9], whole[11], whole[10]])
    assert all(map(torch.equal, rows, [whole[9], whole[11], whole[10]]))
    assert travel.size < 3 * whole[9].nbytes + 1000
    rows[0][-1] = 5
    assert rows[2][0] == whole[10][0]


def test_a_whole_pickle_holds_the_tensors(travel: Any) -> None:
    """
    Where nothing may travel beside the pickle, as with what a function refers to, the
    tensors are in it.
    """
    whole = torch.arange(4 * LARGE)
    value = [whole[LARGE : 2 * LARGE], whole[LARGE : LARGE + 5]]
    arrived = travel(value, beside=False)
    assert travel.sizes == []
    assert all(map(torch.equal, arrived, value))


def test_attributes_of_tensors_travel(travel: Any) -> None:
    """What was set on a tensor, or on one of a subclass, is there at the other end."""
    for tensor in (torch.arange(LARGE), torch.arange(LARGE).as_subclass(Plain)):
        tensor.label = "kept"
        arrived = travel(tensor)
        assert (arrived.label, type(arrived)) == ("kept", type(tensor))


def make_others() -> list[Any]:
    """Return tensors that torch's own way is needed for."""
    numbers = torch.arange(float(LARGE))
    return [
        torch.quantize_per_tensor(numbers, 0.5, 1, torch.quint8),
        torch.eye(300).to_sparse(),
        torch.eye(300).to_sparse_csr(),
        torch.nested.nested_tensor([numbers, numbers[:5]]),
        (numbers * 1j).conj(),
        (numbers * 1j).conj().imag,
        numbers.as_subclass(Watched),
        torch.ones(LARGE, device="meta"),
        torch.nn.parameter.UninitializedParameter(),
    ]


@pytest.mark.parametrize("index", range(9))
def test_other_tensors_travel_as_torch_has_it(index: int, travel: Any) -> None:
    """Tensors whose elements are no plain memory arrive with their layout, and equal."""
    with warnings.catch_warnings():
        # Some kinds of them are said to be about to change.
        warnings.simplefilter("ignore")
        tensor = make_others()[index]
        arrived = travel([tensor])[0]
        assert type(arrived) is type(tensor)
        assert (arrived.layout, arrived.device) == (tensor.layout, tensor.device)
        assert repr(arrived) == repr(tensor)


def test_hooks_of_gradients_are_lost_with_a_warning(travel: Any) -> None:
    """torch warns of hooks, which do not travel, and so it does here."""
    tensor = torch.ones(LARGE, requires_grad=True)
    tensor.register_hook(print)
    with pytest.warns(UserWarning, match="hook"):
        assert torch.equal(travel(tensor), tensor)


def test_models_arrive_whole(travel: Any) -> None:
    """
    The parameters of a model that are one object, or share their memory, do so at the other
    end, and it computes the same.
    """
    model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 300))
    model[1].weight = model[0].weight
    arrived = travel(model)
    assert arrived[0].weight is arrived[1].weight
    given = torch.ones(300)
    assert torch.equal(arrived(given), model(given))
    arrived(given).sum().backward()
    assert arrived[0].weight.grad is not None
    state = travel(model.state_dict())
    assert all(torch.equal(state[name], each) for name, each in model.state_dict().items())


def test_tensors_can_be_used_like_others(travel: Any) -> None:
    """A large tensor can be put into shared memory, and a small one can grow."""
    assert travel(torch.ones(LARGE)).share_memory_().sum() == LARGE
    assert travel(torch.ones(SMALL)).resize_(2 * SMALL)[:SMALL].sum() == SMALL


def test_a_tensor_keeps_its_memory(travel: Any) -> None:
    """What a tensor was opened from is its memory, which lives as long as it does."""
    arrived = [travel(torch.full((LARGE,), float(number))) for number in range(20)]
    assert [float(each[-1]) for each in arrived] == [float(number) for number in range(20)]


def test_read_only_memory_is_copied(recwarn: pytest.WarningsRecorder) -> None:
    """A tensor is made of a copy of what it may not write to, and torch does not warn."""
    from fal_core_worker.buffers.tensors import open_storage

    data = bytes(LARGE)
    storage, start = open_storage(bytes(8), memoryview(data))
    tensor = torch.empty(0, dtype=torch.uint8).set_(storage)
    tensor[5] = 1
    assert (start, data[5], len(recwarn)) == (0, 0, 0)
