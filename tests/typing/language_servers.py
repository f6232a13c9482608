"""Language servers, which editors ask for completions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Stands in a program where the cursor is.
CURSOR = "|"


class LanguageServer:
    """The language server of pyright, asked about the files of *folder*, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = iter(range(1, 1_000_000))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pyright.langserver", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )

    def __enter__(self) -> LanguageServer:
        root = self.folder.as_uri()
        folders = [{"uri": root, "name": self.folder.name}]
        self._ask(
            "initialize",
            processId=None,
            rootUri=root,
            workspaceFolders=folders,
            capabilities={"workspace": {"configuration": True}},
        )
        self._tell("initialized")
        return self

    def __exit__(self, *_: object) -> None:
        self._ask("shutdown")
        self._tell("exit")
        # That waits for it, and closes its streams.
        self._process.communicate()

    def complete(self, program: str) -> set[str]:
        """Return what is offered at the cursor of *program*."""
        found = self._ask_at_cursor("textDocument/completion", program)
        return {str(item["label"]) for item in found["items"]}

    def explain(self, program: str) -> str:
        """Return what is shown of the name at the cursor of *program*."""
        found = self._ask_at_cursor("textDocument/hover", program)
        return str(found["contents"]["value"]) if found else ""

    def _ask_at_cursor(self, method: str, program: str) -> Any:
        before, _, after = program.partition(CURSOR)
        uri = (self.folder / f"program{next(self._numbers)}.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": before + after}
        self._tell("textDocument/didOpen", textDocument=document)
        line, column = before.count("\n"), len(before.rpartition("\n")[2])
        found = self._ask(
            method,
            textDocument={"uri": uri},
            position={"line": line, "character": column},
        )
        self._tell("textDocument/didClose", textDocument={"uri": uri})
        return found

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": parameters})
        while True:
            message = self._receive()
            if message.get("method") is None and message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if "id" in message and "method" in message:
                self._send({"id": message["id"], "result": self._answer(message)})

    def _answer(self, request: dict[str, Any]) -> Any:
        if request["method"] != "workspace/configuration":
            return None
        python = {"pythonPath": sys.executable}
        return [
            python if each.get("section") == "python" else {}
            for each in request["params"]["items"]
        ]

    def _tell(self, method: str, **parameters: Any) -> None:
        self._send({"method": method, "params": parameters})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        size = 0
        while (line := self._process.stdout.readline().strip()) or not size:
            assert line, "The language server has ended."
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        message: dict[str, Any] = json.loads(self._process.stdout.read(size))
        return message
