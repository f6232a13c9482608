"""Certificates: kept, renewed, and trusted beside those of the system."""

from __future__ import annotations

import datetime
import os
import ssl
from types import SimpleNamespace

import pytest
from api_connections import REQUEST, connect, read_all, trusting
from cryptography import x509

from fal_server.errors import ServerError
from fal_server.listeners import certificates
from fal_server.listeners.certificates import Certificate
from fal_server.state.data_directories import DataDirectory
from fal_server.store import housekeeping


def test_certificate_is_kept_and_follows_the_names(tmp_path):
    """
    A second start has the same authority and certificate; a new name makes a new
    certificate of the same authority.
    """
    directory = DataDirectory(tmp_path / "data")
    Certificate(directory, ["a.example"])
    first = {path.name: path.read_bytes() for path in directory.tls.iterdir()}
    Certificate(directory, ["a.example"])
    assert {path.name: path.read_bytes() for path in directory.tls.iterdir()} == first
    Certificate(directory, ["b.example"])
    assert (directory.tls / "ca.pem").read_bytes() == first["ca.pem"]
    assert (directory.tls / "server.pem").read_bytes() != first["server.pem"]


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
@pytest.mark.parametrize("fault", ["missing", "empty", "cut"])
def test_lost_authority_is_told(tmp_path, name, fault):
    """
    An authority of which a part is lost is not replaced, as clients trust it; that of a
    first start that was killed is, and a certificate of the server always.
    """
    directory = DataDirectory(tmp_path / "data")
    Certificate(directory, [])
    file = directory.tls / name
    content = file.read_bytes()
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:40] if fault == "cut" else b"")
    with pytest.raises(ServerError, match=r"cannot be read: ca.pem or ca.key .* remove"):
        Certificate(directory, [])
    file.write_bytes(content)
    (directory.tls / "server.pem").write_bytes(b"")
    Certificate(directory, [])
    (directory.tls / "bundle.pem").unlink()
    file.unlink()
    Certificate(directory, [])
    assert file.read_bytes() != content


def test_certificate_is_renewed_while_the_server_runs(make_plane, monkeypatch, settle):
    """
    A month before it ends there is a new certificate, of the same authority, at every
    listener; connections go on.
    """
    monkeypatch.setattr(housekeeping, "_ROUND", 0.05)
    plane = make_plane()

    def shown_anywhere() -> set[str]:
        ports = plane.plane.ports.values()
        return {ssl.get_server_certificate(("127.0.0.1", port)) for port in ports}

    with trusting(plane).wrap_socket(connect(plane), server_hostname="localhost") as kept:
        before = shown_anywhere()
        assert len(before) == 1
        now = datetime.datetime.now(datetime.timezone.utc)
        later = now + datetime.timedelta(days=370)
        monkeypatch.setattr(certificates, "_now", lambda: later)
        settle(lambda: not before & shown_anywhere())
        after = shown_anywhere()
        assert len(after) == 1
        monkeypatch.setattr(certificates, "_now", lambda: now)
        kept.sendall(REQUEST)
        assert read_all(kept).startswith(b"HTTP/1.1 200")
    (found,) = after
    authority = x509.load_pem_x509_certificate((plane.directory.tls / "ca.pem").read_bytes())
    x509.load_pem_x509_certificate(found.encode()).verify_directly_issued_by(authority)


def test_authorities_of_a_system_in_one_file(make_plane, monkeypatch):
    """
    Runners trust the authorities of the system too, also if OpenSSL finds only their
    directory.
    """
    if not any(map(os.path.exists, certificates._OF_SYSTEMS)):
        pytest.skip("This system has no such file.")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    none = SimpleNamespace(cafile=None, openssl_cafile="/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: none)
    plane = make_plane()
    bundle = plane.directory.tls / "bundle.pem"
    assert bundle.read_text().count("BEGIN CERTIFICATE") > 2
