"""The directory of authorities: OpenSSL finds each in it, and where it cannot be used the file serves."""

from __future__ import annotations

import datetime
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from certificates import KINDS
from client_steps import HELLO, LONG_S, LOOPBACK, get
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type as Text
from cryptography.x509.oid import NameOID
from fault_server import FaultServer, keeping, responding

from rushes.shared.http import HttpClient, authority_directory
from rushes.shared.http.authority_directory import MIN_CERTIFICATES, directory_of

CERTIFI = Path(certifi.where()).read_text(encoding="ascii", errors="ignore")
DAY = datetime.timedelta(days=1)


def rdn(*attributes: tuple[x509.ObjectIdentifier, str, Text]) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([x509.NameAttribute(oid, text, kind) for oid, text, kind in attributes])


ORGANIZATION, NAME = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME
ODD_NAMES = {
    "blanks and case": x509.Name([rdn((NAME, "  The   Pier\tAuthority ", Text.UTF8String))]),
    "printable": x509.Name([rdn((ORGANIZATION, "Pier", Text.PrintableString)), rdn((NAME, "Root", Text.UTF8String))]),
    "not ASCII": x509.Name([rdn((NAME, "Überseebrücke ÄÖ", Text.UTF8String))]),
    "two bytes a letter": x509.Name([rdn((NAME, "Überseebrücke", Text.BMPString))]),
    "several in one": x509.Name([rdn((NAME, "a         b", Text.UTF8String), (ORGANIZATION, "Aaa", Text.UTF8String))]),
    "long": x509.Name([rdn((NameOID.STREET_ADDRESS, "pier " * 60, Text.UTF8String))]),
}


def authority(folder: Path, name: x509.Name) -> tuple[str, ssl.SSLContext]:
    """An authority of this name in PEM, and the context of a server for gateway.test that it vouches for."""
    key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.datetime.now(datetime.UTC)

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        serial = x509.random_serial_number()
        return x509.CertificateBuilder(name, subject, public_key, serial, now - DAY, now + DAY)

    is_ca = x509.BasicConstraints(ca=True, path_length=0)
    root = builder(name, key.public_key()).add_extension(is_ca, critical=True).sign(key, hashes.SHA256())
    host = x509.SubjectAlternativeName([x509.DNSName("gateway.test")])
    server = builder(x509.Name([]), server_key.public_key()).add_extension(host, critical=True)
    file = folder / "server.pem"
    signed = server.sign(key, hashes.SHA256())
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + server_key.private_bytes(*KINDS))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return root.public_bytes(serialization.Encoding.PEM).decode(), context


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where directories are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    directory_of.cache_clear()
    yield folder
    directory_of.cache_clear()


@pytest.fixture
def server(tls: ssl.SSLContext, tmp_path: Path) -> Iterator[FaultServer]:
    """A server of an authority that `bundle` ends with."""
    pem, context = authority(tmp_path, ODD_NAMES["blanks and case"])
    (tmp_path / "bundle.pem").write_text(CERTIFI + pem)
    with FaultServer(responding(HELLO), tls=context) as running:  # a connection a call
        yield running


@pytest.fixture
def bundle(server: FaultServer, tmp_path: Path) -> Path:
    return tmp_path / "bundle.pem"


def answers(bundle: Path, server: FaultServer, client: HttpClient | None = None) -> bool:
    client = client or HttpClient(LOOPBACK, authorities=str(bundle))
    return client.send(get(f"https://gateway.test:{server.port}"), deadline_s=LONG_S).status == 200


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_authority_is_found_whatever_its_name(tls: ssl.SSLContext, tmp_path: Path, name: str) -> None:
    pem, context = authority(tmp_path, ODD_NAMES[name])
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(CERTIFI + pem)
    assert directory_of(str(bundle))
    bundle.unlink()  # so it is not read

    with FaultServer(keeping(HELLO), tls=context) as server:
        assert answers(bundle, server)


def test_without_openssls_command_the_file_serves(
    bundle: Path, server: FaultServer, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(temporary))

    assert directory_of(str(bundle)) is None
    assert answers(bundle, server)
    assert os.listdir(temporary) == []


def test_an_authority_that_openssl_cannot_read_is_left_to_the_file(
    bundle: Path, server: FaultServer, temporary: Path
) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"
    bundle.write_text(bundle.read_text() + broken)

    assert directory_of(str(bundle)) is None
    assert os.listdir(temporary) == []


def test_all_processes_of_a_user_have_one_directory_and_few_authorities_none(bundle: Path, temporary: Path) -> None:
    first = directory_of(str(bundle))
    directory_of.cache_clear()

    assert first
    assert directory_of(str(bundle)) == first
    assert os.listdir(temporary) == [os.path.basename(first.path)]
    few = authority_directory.CERTIFICATE.findall(CERTIFI)[: MIN_CERTIFICATES - 1]
    bundle.write_text("\n".join(few))
    directory_of.cache_clear()
    assert directory_of(str(bundle)) is None


def test_a_file_of_other_authorities_has_a_directory_of_its_own(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_text(CERTIFI)
    first, other = directory_of(str(bundle)), directory_of(str(tmp_path / "other.pem"))

    assert first
    assert other
    assert first.path != other.path


def test_an_authority_that_comes_twice_counts_once(bundle: Path) -> None:
    few = authority_directory.CERTIFICATE.findall(CERTIFI)[: MIN_CERTIFICATES - 1]
    (bundle.parent / "few.pem").write_text("\n".join(few * 2))
    bundle.write_text(bundle.read_text() * 2)

    assert directory_of(str(bundle))
    assert directory_of(str(bundle.parent / "few.pem")) is None


def test_openssls_command_sees_none_of_our_secrets(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "openssl"
    command.write_text(f"#!/bin/sh\nset > {tmp_path}/seen\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("RUSHES_SECRET_KEY", "not-for-others")

    assert directory_of(str(bundle)) is None
    assert "not-for-others" not in (tmp_path / "seen").read_text()


def test_a_directory_from_which_a_file_was_taken_is_not_used_any_more(bundle: Path, server: FaultServer) -> None:
    client = HttpClient(LOOPBACK, authorities=str(bundle))
    assert answers(bundle, server, client)
    directory = directory_of(str(bundle))
    assert directory
    for file in Path(directory.path).iterdir():
        file.unlink()

    assert answers(bundle, server, client)  # of a handle that knew the directory
    assert answers(bundle, server)


def test_a_directory_from_which_a_file_was_taken_is_written_again(bundle: Path) -> None:
    first = directory_of(str(bundle))
    assert first
    files = sorted(os.listdir(first.path))
    Path(first.path, files[-1]).unlink()
    directory_of.cache_clear()

    second = directory_of(str(bundle))
    assert second
    assert sorted(os.listdir(second.path)) == files
    assert not first.is_whole()


def others_may_write(path: Path) -> None:
    path.mkdir(mode=0o777)
    path.chmod(0o777)


def a_link(path: Path) -> None:
    path.symlink_to(path.parent / "moved")


@pytest.mark.parametrize("make", [others_may_write, a_link])
def test_a_directory_of_others_is_not_believed(
    bundle: Path, server: FaultServer, make: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = directory_of(str(bundle))
    assert ours
    path = Path(ours.path)
    path.rename(path.parent / "moved")
    assert callable(make)
    make(path)
    (path / "4042bcee.0").write_text("what somebody else believes")
    directory_of.cache_clear()

    assert directory_of(str(bundle)) is None
    assert answers(bundle, server)


def test_a_directory_that_another_user_owns_is_not_believed(
    bundle: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    assert directory_of(str(bundle)) is None
    assert os.listdir(temporary)


@pytest.mark.parametrize("more", ["# -----BEGIN CERTIFICATE----- begins each\n", ""])
def test_a_file_serves_where_no_directory_can_be_made(
    bundle: Path, server: FaultServer, temporary: Path, more: str
) -> None:
    bundle.write_text(bundle.read_text() + more)
    if not more:
        temporary.rmdir()

    assert directory_of(str(bundle)) is None
    assert answers(bundle, server)
