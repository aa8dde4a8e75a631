"""An authority of the rig's own, and gateway and bucket that speak TLS under it.

Every measured program is told of it where its users would tell it, and certifi's list ends with it too: an earlier
commit of Rushes, and the programs by hand, believe that list.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = ipaddress.ip_address("127.0.0.1")
DAY = datetime.timedelta(days=1)
SECRET = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
PEM = serialization.Encoding.PEM
# Read by the interpreter before any program of ours.
SHIM = """
try:
    import certifi, certifi.core
except ImportError:  # an interpreter without it: its programs are told by SSL_CERT_FILE and AWS_CA_BUNDLE
    pass
else:
    certifi.where = certifi.core.where = lambda: {bundle!r}
"""


@dataclass(frozen=True, slots=True)
class Authority:
    """Files of one rig."""

    ca_file: Path
    bundle: Path
    server_file: Path
    shim_dir: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        """A fresh one, with a certificate for 127.0.0.1."""
        files = cls(folder / "ca.pem", folder / "bundle.pem", folder / "server.pem", folder / "shim")
        key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        name = _name("the rig's authority")
        ca = _builder(name, name, key.public_key(), x509.BasicConstraints(ca=True, path_length=0)).sign(
            key, hashes.SHA256()
        )
        leaf = _builder(name, _name("127.0.0.1"), server_key.public_key(), x509.BasicConstraints(False, None))
        host = x509.SubjectAlternativeName([x509.IPAddress(HOST)])
        signed = leaf.add_extension(host, critical=False).sign(key, hashes.SHA256())
        files.ca_file.write_bytes(ca.public_bytes(PEM))
        files.bundle.write_bytes(Path(certifi.where()).read_bytes() + ca.public_bytes(PEM))
        files.server_file.write_bytes(signed.public_bytes(PEM) + server_key.private_bytes(PEM, *SECRET))
        files.shim_dir.mkdir()
        (files.shim_dir / "sitecustomize.py").write_text(SHIM.format(bundle=str(files.bundle)))
        return files

    def environ(self) -> Mapping[str, str]:
        """What the measured programs are told."""
        return {
            "RUSHES_CA_FILE": str(self.ca_file),
            "SSL_CERT_FILE": str(self.bundle),
            "BENCH_CA_FILE": str(self.ca_file),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.shim_dir), os.environ.get("PYTHONPATH")])),
        }


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, is_ca: x509.BasicConstraints
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(now - DAY).not_valid_after(now + DAY).add_extension(is_ca, critical=True)


def server_context(path: str | None) -> ssl.SSLContext | None:
    """Of a server, from the file with its certificate and key; None for plain HTTP."""
    if path is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def client_context(scheme: str) -> ssl.SSLContext | None:
    """Of a client of the rig's own servers; None for plain HTTP."""
    return ssl.create_default_context(cafile=os.environ.get("BENCH_CA_FILE")) if scheme == "https" else None
