"""Certificates: a private authority, made on the first start, and the server's certificate."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fal_server.errors import ServerError
from fal_server.settings import FOREIGN_NAMES
from fal_server.state.data_directories import DataDirectory

_DAY = datetime.timedelta(days=1)

#: Days that the authority and the server's certificate are valid. Clients refuse server
#: certificates that are valid for more than 825 days.
_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397

#: Days before it expires that a certificate is renewed.
_RENEWAL_DAYS = 30

#: Files in which systems keep the authorities that they trust. Some builds of OpenSSL know
#: only a directory of them.
_OF_SYSTEMS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


class Certificate:
    """
    The certificate of a server for some names, made if there is none yet.

    The same directory has ``ca.pem``, the authority, and ``bundle.pem``, which has the
    authorities of the system as well: a client that trusts the bundle reaches the rest of
    the world as before.
    """

    def __init__(self, directory: DataDirectory, names: Iterable[str]) -> None:
        self._directory = directory
        self._names = sorted({"localhost", "127.0.0.1", "::1", *names, *FOREIGN_NAMES})
        self._path = directory.tls / "server.pem"
        self._contexts: list[ssl.SSLContext] = []
        authority, _ = _authority(directory)
        _write_bundle(directory, authority)
        self.renew()

    def make_context(self, *protocols: str) -> ssl.SSLContext:
        """Return the TLS context of connections with one of *protocols*, by their ALPN names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._path)
        context.set_alpn_protocols(list(protocols))
        # Session tickets arrive after the handshake. OpenSSL is not thread-safe, and a
        # client that writes in one thread while another reads the ticket would hang.
        context.num_tickets = 0
        self._contexts.append(context)
        return context

    def renew(self) -> None:
        """
        Renew the certificate if it expires soon or is for other names. New connections
        use the new one.
        """
        authority, key = _authority(self._directory)
        if _serves(self._path, authority, self._names):
            return
        _make_server(self._directory, authority, key, self._names)
        for context in self._contexts:
            context.load_cert_chain(self._path)


def _authority(directory: DataDirectory) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path, key_path = directory.tls / "ca.pem", directory.tls / "ca.key"
    # The bundle is written last: a first start that was killed has left none.
    is_whole = path.exists() and key_path.exists()
    if is_whole or (directory.tls / "bundle.pem").exists():
        try:
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return x509.load_pem_x509_certificate(path.read_bytes()), key
        except (OSError, ValueError) as error:
            raise ServerError(
                f"The authority of the server in {directory.tls} cannot be read: ca.pem or "
                "ca.key is missing or not whole. Put copies of them there, or remove the "
                "directory: clients then need the new bundle.pem."
            ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fal-core server")])
    certificate = (
        _start(name, name, key.public_key(), days=_AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory.write_private(key_path, _key_bytes(key))
    directory.write_private(path, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def read_authority(directory: DataDirectory) -> bytes:
    """Return the authority of a directory, which is made if there is none, with its key."""
    certificate, key = _authority(directory)
    return _key_bytes(key) + certificate.public_bytes(serialization.Encoding.PEM)


def write_authority(directory: DataDirectory, content: bytes) -> None:
    """Have an authority in a directory, in the place of any other."""
    key, mark, certificate = content.partition(b"-----BEGIN CERTIFICATE-----")
    files = {directory.tls / "ca.key": key, directory.tls / "ca.pem": mark + certificate}
    for path, wanted in files.items():
        if not path.exists() or path.read_bytes() != wanted:
            directory.write_private(path, wanted)


def _make_server(
    directory: DataDirectory,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: list[str],
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fal-core server")])
    certificate = (
        _start(authority.subject, subject, key.public_key(), days=_SERVER_DAYS)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    content = _key_bytes(key) + certificate.public_bytes(serialization.Encoding.PEM)
    directory.write_private(directory.tls / "server.pem", content)


def _serves(path: Path, authority: x509.Certificate, names: list[str]) -> bool:
    """
    Return whether the certificate at *path* was signed by *authority* for exactly *names*,
    and does not expire soon.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:
        return False
    left = certificate.not_valid_after_utc - _now()
    return left > _RENEWAL_DAYS * _DAY and set(alternative.value) == set(
        map(_general_name, names)
    )


def _write_bundle(directory: DataDirectory, authority: x509.Certificate) -> None:
    """Write the bundle of authorities for clients: those of this process, and ours."""
    paths = ssl.get_default_verify_paths()
    system = b""
    configured = (os.environ.get("SSL_CERT_FILE"), paths.cafile, paths.openssl_cafile)
    for path in (*configured, *_OF_SYSTEMS):
        if path and Path(path).is_file():
            system = Path(path).read_bytes()
            break
    ours = authority.public_bytes(serialization.Encoding.PEM)
    bundle = directory.tls / "bundle.pem"
    if bundle.exists() and os.environ.get("SSL_CERT_FILE") == str(bundle):
        # The server was started with the variables that it prints for its clients.
        return
    directory.write_private(bundle, ours + b"\n" + system)


def _start(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _DAY)
        .not_valid_after(_now() + days * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
