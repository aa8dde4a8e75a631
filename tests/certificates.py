"""Certificates for servers of tests that speak TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

KINDS = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def self_signed(name: str, folder: Path, days: int = 1) -> tuple[str, ssl.SSLContext]:
    """A certificate for a host that vouches for itself: (authorities file, the server's context).

    It is valid from two days ago until so many days from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, both = folder / "public.pem", folder / "both.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(public.read_bytes() + key.private_bytes(*KINDS))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return str(public), context


class Authority:
    """A certificate authority of a test's own, with a certificate for localhost that server and client both show."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.certificate, self.key = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
        signer = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of ours")])
        own = _certificate(name, signer, name, signer, x509.BasicConstraints(ca=True, path_length=0))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        issued = _certificate(subject, key, name, signer, x509.SubjectAlternativeName(names))
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))
        self.certificate.write_bytes(issued.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(key.private_bytes(*KINDS))

    def redis_lines(self, port: int) -> list[str]:
        """For a redis.conf: only TLS, and only for clients with a certificate of this authority."""
        files = {"tls-ca-cert-file": self.file, "tls-cert-file": self.certificate, "tls-key-file": self.key}
        return [
            "port 0",
            f"tls-port {port}",
            "tls-auth-clients yes",
            *(f"{name} {path}" for name, path in files.items()),
        ]

    def redis_query(self) -> str:
        """For an address of Redis."""
        return f"ssl_ca_certs={self.file}&ssl_certfile={self.certificate}&ssl_keyfile={self.key}"


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    number = x509.random_serial_number()
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), number, now - day, now + day)
    critical = isinstance(extension, x509.BasicConstraints)
    return builder.add_extension(extension, critical=critical).sign(signer, hashes.SHA256())
