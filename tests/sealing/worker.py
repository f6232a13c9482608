"""A worker for the tests of sealing: it opens and calls functions, and seals their results."""

import pickle
import sys

sys.path[:0] = sys.argv[1:]

from fal_core_worker.opening.functions import open_function  # noqa: E402  # the path comes first
from fal_core_worker.opening.values import (  # noqa: E402  # the path comes first
    open_arguments,
    seal_error,
    seal_value,
)


def answer(request):
    """Return a pair for each of the calls: whether it raised, and its result or exception."""
    native, portable, refusal, calls = request
    try:
        function = open_function(native, portable, refusal)
    except BaseException as error:
        return [(True, seal_error(error, None))]
    answers = []
    for sealed in calls:
        try:
            args, kwargs = open_arguments(sealed, function)
            answers.append((False, seal_value(function(*args, **kwargs), function)))
        except BaseException as error:
            answers.append((True, seal_error(error, function)))
    return answers


def with_bytes(sealed):
    """Return *sealed* with its buffers as bytes, which pickle."""
    return sealed._replace(buffers=[bytes(buffer) for buffer in sealed.buffers])


if __name__ == "__main__":
    output = sys.stdout.buffer
    sys.stdout = sys.stderr
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        pickle.dump(
            [(raised, with_bytes(sealed)) for raised, sealed in answer(request)], output
        )
        output.flush()
