"""Stores of buckets, on this machine."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[4] / "fal-server" / "tests"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a store that speaks S3, which has the bucket ``files``."""
    import s3_servers

    if reason := s3_servers.missing():
        pytest.skip(reason)
    pytest.importorskip("boto3")
    server = s3_servers.S3Server()
    yield server.address
    server.close()


@pytest.fixture
def r2_account(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The account of that store."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    account = {"ACCOUNT_ID": "a", "ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "hidden"}
    return json.dumps({**account, "ENDPOINT_URL": s3})


class Tokens(BaseHTTPRequestHandler):
    """Gives tokens to service accounts, as Google does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        told = {"access_token": "one", "expires_in": 3600, "token_type": "Bearer"}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def google_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """
    A service account of a store that speaks Google's protocol, which has the bucket
    ``files``.
    """
    pytest.importorskip("google.cloud.storage")
    servers = pytest.importorskip("gcp_storage_emulator.server")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tokens = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    thread = threading.Thread(target=tokens.serve_forever, args=(0.02,))
    thread.start()
    store = servers.create_server("127.0.0.1", 0, in_memory=True, default_bucket="files")
    store.start()
    port = store._api._httpd.server_address[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    yield json.dumps(
        {
            "type": "service_account",
            "project_id": "tests",
            "client_email": "tests@host.example",
            "private_key": key.decode(),
            "token_uri": f"http://127.0.0.1:{tokens.server_address[1]}/token",
        }
    )
    store.stop()
    tokens.shutdown()
    tokens.server_close()
    thread.join()
