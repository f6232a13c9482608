"""Functions that are called again when they fail."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

BackoffType = Literal["exponential", "fixed"]


def retry(
    max_retries: int = 3,
    base_delay: float = 1.0,
    max_delay: float = 60.0,
    backoff_type: BackoffType = "exponential",
    jitter: bool = False,
    should_retry: Callable[[Exception], bool] | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """
    Have the function below called again when it raises an exception, and raise the last one.

    Arguments:
        max_retries: How many times it is called at most, the first time included.

        base_delay: Seconds before the second call; before each other one twice as many, or as
            many if *backoff_type* is ``fixed``.

        max_delay: The most seconds.

        jitter: Whether to wait for half as long up to one and a half times as long.

        should_retry: Tells whether the exception is one to call it again for.
    """

    def wait_after(error: Exception, calls: int) -> float:
        if calls >= max_retries or (should_retry is not None and not should_retry(error)):
            raise error
        doublings = calls - 1 if backoff_type == "exponential" else 0
        seconds: float = min(base_delay * 2.0 ** min(doublings, 64), max_delay)
        print(f"Call {calls} of {max_retries} has failed, and is made again: {error}")
        return seconds * random.uniform(0.5, 1.5) if jitter else seconds

    def decorate(function: FunctionT) -> FunctionT:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            calls = 0
            while True:
                calls += 1
                try:
                    return function(*args, **kwargs)
                except Exception as error:
                    seconds = wait_after(error, calls)
                time.sleep(seconds)

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            calls = 0
            while True:
                calls += 1
                try:
                    return await function(*args, **kwargs)
                except Exception as error:
                    seconds = wait_after(error, calls)
                await asyncio.sleep(seconds)

        is_async = inspect.iscoroutinefunction(function)
        return cast(FunctionT, call_async if is_async else call)

    return decorate
