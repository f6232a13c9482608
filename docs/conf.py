"""How the documentation is built."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fal-core"
author = "The fal-core authors"
copyright = author
release = version_of("fal-core")
version = release

extensions = ["myst_parser", "sphinx_copybutton", "reference"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "fal-core"
html_static_path = ["_static"]
html_css_files = ["page.css"]
pygments_style = "friendly"
# What a reader types, without the prompts before it.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
