"""Files of an account, as the released clients use them."""

from __future__ import annotations

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.usefixtures("newest_clients")

#: What a program of a client begins with: it runs commands of ``fal`` in its own process, as
#: the import of the client takes longer than all of them.
COMMANDS = """
import contextlib, io, json, os
from fal.cli.main import main

def fal(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(list(arguments)) or 0
    return [code, printed.getvalue()]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with files, of which one is sent in parts, and a URL that leads to it."""
    made = tmp_path_factory.mktemp("files")
    (made / "sub").mkdir()
    (made / "words.txt").write_text("open sesame")
    (made / "sub" / "empty").touch()
    (made / "sub" / "large").write_bytes(os.urandom(21 << 20))
    handler = partial(SimpleHTTPRequestHandler, directory=str(made))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_commands(applied, folder, tmp_path):
    """
    ``fal files`` sends folders, lists, renames, removes, and brings them back as they were;
    it has the server get a file from a URL, and says what is refused.
    """
    sent, url = folder
    told = applied.python(
        f"""{COMMANDS}
sent, words = {str(sent)!r}, {str(sent / "words.txt")!r}
told = [fal("files", *words) for words in (
    ("upload", sent, "/data/sent"),
    ("list", "/data/sent"),
    ("mv", "/data/sent", "moved"),
    ("download", "/data/moved", {str(tmp_path / "back")!r}),
    ("upload", words, "deep/er/copy.txt"),
    ("ls", "/data/deep/er"),
    ("upload-url", "{url}/words.txt", "/data/of-url.txt"),
    ("rm", "/data/moved"),
    ("list", "/data"),
    ("rm", "/data/moved"),
    ("upload", words, "/etc/words"),
)]
print("JSON " + json.dumps(told))
"""
    )
    assert [code for code, _ in told] == [0] * 9 + [1, 1], told
    assert told[1][1].split() == ["sub", "words.txt"]
    for path in ("words.txt", "sub/large", "sub/empty"):
        assert (tmp_path / "back" / path).read_bytes() == (sent / path).read_bytes()
    assert told[5][1].split() == ["copy.txt"]
    assert told[8][1].split() == ["deep", "of-url.txt"]
    assert "There is no such file" in told[9][1]
    assert "Files are in /data" in told[10][1]


def test_directories_that_functions_see(applied, folder):
    """
    ``sync_dir`` sends a directory once, a function finds it in the data of its account, and
    what the function writes there is read by ``FalFileSystem``; what leads out of the
    directory is not there.
    """
    sent, _ = folder
    told, printed = applied.python_and_output(
        f"""
        import json
        import os
        import fal
        from fal.files import FalFileSystem
        from fal.sync import sync_dir

        sync_dir({str(sent / "sub")!r}, "/data/synced")
        sync_dir({str(sent / "sub")!r}, "/data/synced")

        @fal.function(requirements=[], keep_alive=0)
        def look():
            import os
            data = os.environ["FAL_CORE_DATA"]
            os.makedirs(f"{{data}}/written", exist_ok=True)
            with open(f"{{data}}/written/result.txt", "w") as file:
                file.write("of the function")
            os.symlink("/etc/passwd", f"{{data}}/written/out")
            os.symlink("result.txt", f"{{data}}/written/link")
            return sorted(os.listdir(f"{{data}}/synced"))

        listed, files, back = look(), FalFileSystem(), {str(sent / "back")!r}
        files.get("/data/written", back, recursive=True)
        with open(f"{{back}}/link") as file:
            print("JSON " + json.dumps([listed, sorted(os.listdir(back)), file.read()]))
        """
    )
    assert told == [[".fal_hash", "empty", "large"], ["link", "result.txt"], "of the function"]
    assert printed.count("already uploaded") == 1
