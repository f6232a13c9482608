"""
Tensors of torch on the CPU: their storages travel as buffers.

torch itself writes the whole storage of each tensor into the pickle, with a serializer of
its own. Here a storage travels once, however many tensors of a value have it, and only
the part of it that they cover.
"""

from __future__ import annotations

import ctypes
import importlib
import struct
import sys
from collections.abc import Iterable
from pickle import PickleBuffer
from typing import Any

from fal_core_worker.buffers.libraries import BUFFER_SIZE, LateBytes

#: Bytes: where a part of a storage may begin, so that tensors stay as aligned as they were.
_ALIGNMENT = 64
#: Bytes: how memory is aligned at least that a tensor uses in place.
_ALIGNED = 16
_START = struct.Struct("<Q")

#: What a subclass that torch's own way is needed for defines.
_OF_ITS_OWN = frozenset(
    (
        *("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__slots__"),
        *("__torch_function__", "__torch_dispatch__"),
    )
)


class StorageMemory:
    """
    The memory of a storage whose tensors are being pickled.

    Attributes:
        low: Bytes from its start to the first element of the tensors so far; *high* to the
            end of the last.

        start: Where the part of it begins that travels, packed. The buffers are looked at
            when all has been pickled, so that all tensors are known.
    """

    def __init__(self, storage: Any) -> None:
        self.low, self.high = storage.nbytes(), 0
        large = storage.nbytes() >= BUFFER_SIZE
        self.start = LateBytes(_START.size) if large else bytearray(_START.size)
        self.block = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
        # It exists as long as views of its memory do.
        self.block.storage = storage

    def __reduce__(self) -> Any:
        return open_storage, (PickleBuffer(self.start), PickleBuffer(self.block))

    def cover(self, tensor: Any) -> None:
        """Have the part that travels include *tensor*."""
        size = tensor.element_size()
        low = tensor.storage_offset() * size
        pairs = zip(tensor.size(), tensor.stride(), strict=True)
        high = low + size * (1 + sum((count - 1) * stride for count, stride in pairs))
        self.low = min(self.low, low // _ALIGNMENT * _ALIGNMENT)
        self.high = max(self.high, high)


def reduce_tensor(tensor: Any, storages: dict[int, StorageMemory]) -> Any:
    """
    Reduce a tensor whose elements lie in memory of this process.

    Arguments:
        storages: The storages that are pickled already, by address.
    """
    torch = sys.modules["torch"]
    kind = type(tensor)
    if not _is_usual(torch, kind) or not _is_in_memory(torch, tensor):
        return NotImplemented
    torch.utils.hooks.warn_if_has_hooks(tensor)
    memory = None
    if tensor.numel():
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if not address:
            return NotImplemented
        memory = storages.get(address)
        if memory is None or len(memory.block) != storage.nbytes():
            memory = storages[address] = StorageMemory(storage)
        memory.cover(tensor)
    offset, size, stride = tensor.storage_offset(), tuple(tensor.size()), tensor.stride()
    shape = (tensor.dtype, offset, size, stride)
    subclass = None if kind is torch.Tensor else kind
    arguments = (memory, *shape, tensor.requires_grad, subclass)
    state = vars(tensor)
    if not state:
        return make_tensor, arguments
    return make_tensor, arguments, dict(state), None, None, fill_tensor


def _is_usual(torch: Any, kind: type) -> bool:
    own = kind.__mro__[: kind.__mro__.index(torch.Tensor)]
    return all(_OF_ITS_OWN.isdisjoint(vars(each)) for each in own)


def _is_in_memory(torch: Any, tensor: Any) -> bool:
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_nested)
        and not (tensor.is_conj() or tensor.is_neg())
        # Other versions have tensors whose dimensions are named.
        and not any(getattr(tensor, "names", ()))
    )


def narrow(
    buffers: Iterable[memoryview], storages: Iterable[dict[int, StorageMemory]]
) -> list[Any]:
    """Return *buffers* with those of storages cut to the part that is covered."""
    memories = [memory for each in storages for memory in each.values()]
    covered = {id(memory.block): memory for memory in memories}
    narrowed = []
    for view in buffers:
        memory = covered.get(id(view.obj))
        if memory is not None:
            _START.pack_into(memory.start, 0, memory.low)
            view = view[memory.low : memory.high]
        narrowed.append(view)
    return narrowed


def open_storage(start: Any, data: Any) -> tuple[Any, int]:
    """Return a storage that has *data* as its memory, and its place in the one that was sealed."""
    torch: Any = importlib.import_module("torch")
    if memoryview(data).readonly:
        # A tensor is always writable.
        data = bytearray(data)
    elements = torch.frombuffer(data, dtype=torch.uint8)
    if elements.numel() < BUFFER_SIZE or elements.data_ptr() % _ALIGNED:
        # Memory of torch's own can be resized.
        elements = elements.clone()
    return elements.untyped_storage(), _START.unpack(start)[0]


def make_tensor(
    memory: tuple[Any, int] | None,
    dtype: Any,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    subclass: type | None,
) -> Any:
    """Return a tensor whose elements lie in *memory*, or one without elements."""
    torch: Any = importlib.import_module("torch")
    tensor = torch.empty(0, dtype=dtype, device="cpu")
    if memory is None:
        tensor = tensor.as_strided(size, stride)
    else:
        storage, start = memory
        tensor.set_(storage, offset - start // tensor.element_size(), size, stride)
    if subclass is not None:
        tensor = tensor.as_subclass(subclass)
    if requires_grad:
        tensor.requires_grad_()
    return tensor


def fill_tensor(tensor: Any, state: dict[str, Any]) -> None:
    """Give *tensor* the attributes that were set on it."""
    vars(tensor).update(state)
