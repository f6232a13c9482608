"""Workers of distributed models, which the processes of tests import."""

from __future__ import annotations

import os
from typing import Any

from fal_compat.distributed import DistributedWorker


class Summing(DistributedWorker):
    """Sums a number over all processes."""

    def setup(self, factor: int = 1, **kwargs: Any) -> None:
        if factor == 0 and self.rank == 1:
            raise LookupError("There are no weights.")
        self.factor = factor

    def __call__(self, streaming: bool = False, **kwargs: Any) -> Any:
        import torch
        import torch.distributed as group

        if kwargs.get("dies") and self.rank == 1:
            os._exit(3)
        if kwargs.get("fails"):
            raise ValueError("It is wrong.")
        number = kwargs.get("number", 1)
        tensor = torch.tensor([number * self.factor * (self.rank + 1)], device=self.device)
        group.all_reduce(tensor)
        if streaming:
            self.add_streaming_result({"half": tensor}, as_text_event=kwargs.get("text", False))
        return {"sum": tensor, "device": self.device.type, "directory": os.getcwd()}


class Later(DistributedWorker):
    """Answers in its event loop."""

    async def __call__(self, streaming: bool = False, **kwargs: Any) -> int:
        return self.world_size
