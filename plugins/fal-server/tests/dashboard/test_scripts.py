"""The script of the dashboard, made of its modules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fal_server.dashboard.pages import Page, join_modules


def join(**modules: str) -> str:
    return join_modules("main", modules.__getitem__)


def test_modules_have_names_of_their_own():
    """A module is there once, before those that import it, and sees what these export alone."""
    script = join(
        main='import { one } from "./first.js";\nimport { two } from "./second.js";\n'
        "show(one, two());\n",
        first="const own = 1;\nexport const one = own;\n",
        second='import { one } from "./first.js";\n\nconst own = 2;\n'
        "export async function* many() {}\nexport class Two {}\n"
        "export function two() {\n  return own + one;\n}\n",
    )
    first, second = (script.index(f"const module_{name} =") for name in ("first", "second"))
    assert first < second < script.index("show(")
    assert "return { one };" in script[:second]
    assert "return { many, Two, two };" in script
    assert script.count("const own = 1;") == 1
    assert "import" not in script
    assert "export" not in script


@pytest.mark.parametrize(
    "text",
    [
        "export let changing = 1;\n",
        "export default 1;\n",
        'import * as all from "./main.js";\n',
        'import { main } from "./main.js";\n',
    ],
)
def test_modules_that_cannot_be_joined(text: str):
    """What would mean something else in one script is refused."""
    with pytest.raises(ValueError, match=r"cannot be joined|import each other"):
        join(main='import { other } from "./first.js";\n', first=text)


def test_the_page_is_one_response():
    """The page asks for no other file, and its policy allows its own script and styles alone."""
    page = Page.read()
    text, policy = page.body.decode(), page.headers["Content-Security-Policy"]
    assert "/* s" not in text
    assert '<link rel="stylesheet"' not in text
    assert "src=" not in text[text.index("<body>") : text.index("<script")]
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert len(page.packed) < 40_000


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_valid(tmp_path: Path):
    """The joined script is a module that can be parsed."""
    text = Page.read().body.decode()
    script = text.split('<script type="module">', 1)[1].rsplit("</script>", 1)[0]
    path = tmp_path / "page.mjs"
    path.write_text(script)
    subprocess.run(["node", "--check", str(path)], check=True)
