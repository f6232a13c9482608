"""The application of the README, as a file for the released client."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]

#: The import of the block, which names the same classes that the released SDK has.
_IMPORT = "from fal_serve import App, endpoint, realtime"

#: The options of its class, which that SDK takes as attributes alone.
_OPTIONS = re.compile(r'class Reader\(App, kind="virtualenv", (requirements=.*)\):')


def read_application() -> str:
    """Return the module with the class ``Reader`` of the README."""
    blocks = re.findall(r"```python\n(.*?)```", (_ROOT / "README.md").read_text("utf-8"), re.S)
    (block,) = (each for each in blocks if "class Reader(" in each)
    assert _IMPORT in block
    imported = block.replace(_IMPORT, "from fal import App, endpoint, realtime")
    found, count = _OPTIONS.subn(r"class Reader(App):\n    \1\n", imported)
    assert count == 1
    return found
