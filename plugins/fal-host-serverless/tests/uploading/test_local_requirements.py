"""
Requirements of this machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from fal_host_serverless import SyncServerlessClient


def test_local_requirement_is_uploaded(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path, own: Path
):
    """
    A local project is built and uploaded once, and required by its URL.
    """
    (project / "needs.txt").write_text("cowsay==6.1  # a comment\n\n")
    (project / "plain.py").write_text(
        "from fal_core import function\n"
        '@function(requirements=["./own[fast]", "needs.txt"])\n'
        "def answer() -> int:\n    return 1\n"
    )
    asking.deploy("plain.py")
    configuration = MessageToDict(recorder.last("BuildEnvironment").environments[0])
    (archive,) = rest.stored
    assert configuration["configuration"]["requirements"] == [
        f"own[fast] @ http://{rest.address}/stored/{archive}",
        "cowsay==6.1",
    ]
    assert archive == "own-1.tar.gz"
    registered = MessageToDict(recorder.last("RegisterApplication").environments[0])
    assert registered["configuration"] == configuration["configuration"]
    assert rest.asked.count(("PUT", f"/stored/{archive}")) == 1
    assert (
        rest.headers[0]["X-Fal-Core-Digest"] == hashlib.sha256(rest.stored[archive]).hexdigest()
    )
    rest.asked.clear()
    asking.deploy("plain.py")
    assert rest.asked == []
