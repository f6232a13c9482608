"""
Images that have an older release of a package that every application has: with the released
clients on a server, and with fal_compat on this machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import BASE
from programs import read_told

pytest.importorskip("fal_compat", reason="fal-compat is not installed")

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("newest_clients")]

OLDER = "2.10.6"

#: What images of programs have from ``RUN pip install pydantic==2.10.6``.
IMAGE = f"FROM {BASE}\\nCOPY older {{folder}}\\n"

PROGRAM = """
IMPORT
import json
from fal.app import AppClient
from fal.container import ContainerImage
from pydantic import BaseModel

IMAGE = ContainerImage.from_dockerfile_str("DOCKERFILE", context_dir="CONTEXT")

class Input(BaseModel):
    n: int = 1

class Boxed(fal.App, keep_alive=60, max_concurrency=1):
    machine_type = "XS"
    image = IMAGE

    @fal.endpoint("/")
    def tell(self, input: Input) -> dict:
        return {"n": input.n}

@fal.function("container", image=IMAGE, machine_type="XS", keep_alive=0)
def look():
    import pydantic
    from importlib.metadata import distributions

    found = {each.version for each in distributions() if each.name == "pydantic"}
    return pydantic.BaseModel.__name__, "OLDER" in found

def main():
    told = {"function": look()}
    with AppClient.connect(Boxed) as client:
        told["application"] = client.tell({"n": 4})
    print("JSON " + json.dumps(told))

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def boxing(engine: Any, make_applied: Callable[..., Any]) -> Any:
    """A server for the released clients whose machine has an engine."""
    return make_applied()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the older release, for images to copy."""
    folder = tmp_path_factory.mktemp("context")
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
    where = ["--python", sys.executable, "--target", str(folder / "older")]
    done = subprocess.run(
        [*command, *where, f"pydantic=={OLDER}"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"pydantic {OLDER} cannot be installed: {done.stderr.strip()[-200:]}")
    return folder


@pytest.mark.parametrize("line", ["import fal", "import fal_compat as fal"])
def test_image_with_an_older_pydantic(
    boxing: Any, context: Path, tmp_path: Path, run_program: Callable[..., str], line: str
):
    """
    Functions and applications run in an image with an older pydantic, whose core does not go
    with a newer one.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = f"{sys.base_prefix}/lib/{version}/site-packages/"
    code = PROGRAM.replace("IMPORT", line).replace("CONTEXT", str(context))
    code = code.replace("DOCKERFILE", IMAGE.format(folder=folder)).replace("OLDER", OLDER)
    if line == "import fal":
        told = boxing.python(code)
    else:
        file = tmp_path / "program.py"
        file.write_text(code.replace("from fal.", "from fal_compat."))
        told = read_told(run_program(file, {}))
    assert told == {"function": ["BaseModel", True], "application": {"n": 4}}
