"""Servers that answer as no WooCommerce does: scripted byte by byte, over TCP or TLS, on this machine."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Say: TypeAlias = Callable[[socket.socket, bytes], object]  # the connection, and the request that came


def http(body: bytes | str = b"{}", status: str = "200 OK", **headers: str) -> Say:
    """A plain answer, JSON unless said otherwise; the connection stays open."""
    raw = body.encode() if isinstance(body, str) else body
    named = {"content_type": "application/json; charset=UTF-8", "content_length": str(len(raw)), **headers}
    lines = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in named.items() if value)
    return lambda conn, _request: conn.sendall(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + raw)


def close(conn: socket.socket, _request: bytes) -> None:
    """Nothing at all."""
    conn.shutdown(socket.SHUT_RDWR)


@dataclass(eq=False)
class Far:
    """A server. `says` answers the requests in turn, the last one all that follow."""

    says: list[Say]
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def next(self, request: bytes) -> Say:
        with self._mutex:
            self.requests.append(request)
            return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    @property
    def lines(self) -> list[str]:
        """The first line of each request."""
        return [request.split(b"\r\n", 1)[0].decode() for request in self.requests]


@contextmanager
def serving(*says: Say, tls: ssl.SSLContext | None = None) -> Iterator[Far]:
    """Serve on loopback while the block runs."""
    far = Far(list(says))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far.port = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, far, tls), daemon=True).start()
        yield far
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, far: Far, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):
        while True:
            conn, _ = listener.accept()
            far.connections += 1
            threading.Thread(target=_serve, args=(conn, far, tls), daemon=True).start()


def _serve(raw: socket.socket, far: Far, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError), raw, tls.wrap_socket(raw, server_side=True) if tls else raw as conn:
        while request := _read(conn):
            far.next(request)(conn, request)


def _read(conn: socket.socket) -> bytes:
    """One request, head and body; empty where the other side is gone."""
    got = b""
    while b"\r\n\r\n" not in got:
        chunk = conn.recv(65536)
        if not chunk:
            return b""
        got += chunk
    head, _, body = got.partition(b"\r\n\r\n")
    sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(sizes):
        body += conn.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def in_front_of(port: int, tls: ssl.SSLContext) -> Iterator[int]:
    """TLS ended before a server that speaks plain HTTP; gives the port."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def carry(raw: socket.socket) -> None:
        with suppress(OSError), raw, tls.wrap_socket(raw, server_side=True) as near, socket.create_connection(("127.0.0.1", port)) as there:
            back = threading.Thread(target=pump, args=(there, near), daemon=True)
            back.start()
            pump(near, there)
            back.join()

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Trust:
    """An authority of our own (`roots`), a server that it vouches for, and one that nobody does."""

    roots: str
    server: ssl.SSLContext
    stranger: ssl.SSLContext


def trust(folder: Path) -> Trust:
    """Certificates for `shop.example`, `two.example` with and without `www.`, and this machine."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of the tests")])
    roots = folder / "roots.pem"
    authority = _certificate(name, name, key, key, is_authority=True)
    roots.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return Trust(
        str(roots), _context(folder / "server", key, name), _context(folder / "stranger", ec.generate_private_key(ec.SECP256R1()), name)
    )


def _context(at: Path, signer: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")]), issuer, key, signer, is_authority=False)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    at.with_suffix(".pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at.with_suffix(".pem"))
    return context


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    hosts = [x509.DNSName(each) for each in ("shop.example", "two.example", "www.two.example")]
    names = x509.SubjectAlternativeName([*hosts, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    build = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    build = (
        build.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    build = build.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    build = build.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    build = build.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if is_authority:
        usage = {name: name in {"key_cert_sign", "crl_sign"} for name in _USAGES}
        build = build.add_extension(x509.KeyUsage(**usage), critical=True)
    else:
        build = build.add_extension(names, critical=False)
    return build.sign(signer, hashes.SHA256())


_USAGES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign encipher_only "
    "decipher_only"
).split()
