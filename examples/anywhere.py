"""
One function in four places, with a command for each.

It needs the extra ``all`` of fal-core; ``python3 dev.py fal-core`` is ``fal-core`` with it:

    fal-core explain --on all examples/anywhere.py

says what each of these does, without doing it:

    fal-core run examples/anywhere.py::hold 200
    fal-core run examples/anywhere.py::in_conda 200
    fal-core run examples/anywhere.py::in_container 200
    fal-core run examples/anywhere.py::on_a_server 200
    fal-core run examples/anywhere.py::hold 1200 --enforce

The third needs Podman or Docker, and the fourth an account of fal.ai or a server of your own.
The last one holds the function to a machine of type S, whose memory is too small for
1,200 MB.
"""

from __future__ import annotations

from fal_core import function


@function("virtualenv", requirements=["humanize==4.12.3"], machine_type="S")
def hold(megabytes: int) -> str:
    """Hold as much memory for a moment, and say which Python did."""
    import sys

    import humanize

    memory = b"x" * (megabytes * 1_000_000)
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{humanize.naturalsize(len(memory))} held by Python {version} in {sys.prefix}"


#: conda's package in place of the requirement, from the channel conda-forge.
in_conda = hold.on(kind="conda", packages=["humanize=4.12"])

#: The requirement again, on top of an image that lacks it.
in_container = hold.on(kind="container", image="python:3.12-slim")

#: The function as it was declared, on fal.ai or on a server of your own.
on_a_server = hold.on("serverless")
