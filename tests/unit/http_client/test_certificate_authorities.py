"""Which certificate authorities are trusted."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import certifi
import pytest
from certificates import self_signed
from client_steps import HELLO, LONG_S, LOOPBACK, get
from fault_server import FaultServer, keeping

from rushes.shared.http import S3_CA_VARIABLES, HttpClient, NotSent, certificate_bundle, check_certificates

OwnAuthority = tuple[str, ssl.SSLContext]


@pytest.fixture
def own_authority(tls: ssl.SSLContext, tmp_path: Path) -> OwnAuthority:
    """The user's own authority, for `other.test`."""
    return self_signed("other.test", tmp_path)


def is_reached(authorities: str, server: FaultServer, host: str) -> bool:
    try:
        client = HttpClient(LOOPBACK, authorities=authorities)
        return client.send(get(f"https://{host}:{server.port}"), deadline_s=LONG_S).status == 200
    except NotSent:
        return False


def test_the_users_file_is_believed_beside_the_usual_authorities(
    own_authority: OwnAuthority, tls: ssl.SSLContext
) -> None:
    file, context = own_authority
    with (
        FaultServer(keeping(HELLO), tls=context) as other_server,
        FaultServer(keeping(HELLO), tls=tls) as default_server,
    ):
        for authorities, hosts in (
            (certificate_bundle({}), [False, True]),
            (certificate_bundle({}, file), [True, True]),
        ):
            assert [
                is_reached(authorities, other_server, "other.test"),
                is_reached(authorities, default_server, "gateway.test"),
            ] == hosts


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_usual_variable_takes_the_place_of_the_usual_authorities(
    own_authority: OwnAuthority, tls: ssl.SSLContext, name: str
) -> None:
    file, context = own_authority
    with (
        FaultServer(keeping(HELLO), tls=context) as other_server,
        FaultServer(keeping(HELLO), tls=tls) as default_server,
    ):
        authorities = certificate_bundle({name: file})
        assert authorities == file
        assert [
            is_reached(authorities, other_server, "other.test"),
            is_reached(authorities, default_server, "gateway.test"),
        ] == [True, False]
        with_certifi = certificate_bundle({name: file}, certifi.where())
        assert [
            is_reached(with_certifi, other_server, "other.test"),
            is_reached(with_certifi, default_server, "gateway.test"),
        ] == [True, True]


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_folder_of_certificates_is_believed(own_authority: OwnAuthority, name: str, tmp_path: Path) -> None:
    file, context = own_authority
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one.pem").write_bytes(Path(file).read_bytes())
    (folder / "README").write_text("no certificate")
    (folder / "deeper").mkdir()

    check_certificates(str(folder))
    with FaultServer(keeping(HELLO), tls=context) as other_server:
        assert is_reached(certificate_bundle({name: str(folder)}), other_server, "other.test")


def test_a_bucket_has_variables_of_its_own(own_authority: OwnAuthority) -> None:
    file, _ = own_authority

    assert certificate_bundle({"AWS_CA_BUNDLE": file}) == certifi.where()
    assert certificate_bundle({"AWS_CA_BUNDLE": file}, names=S3_CA_VARIABLES) == file
    assert certificate_bundle({"SSL_CERT_FILE": file}, names=S3_CA_VARIABLES) == certifi.where()


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nrot\n-----END CERTIFICATE-----"]
)
def test_a_file_without_certificates_is_told(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ValueError, match=r"No such file|no certificate"):
        check_certificates(str(file))


def test_what_is_joined_is_written_once_and_a_killed_process_leaves_nothing(
    own_authority: OwnAuthority, tmp_path: Path
) -> None:
    file, _ = own_authority
    code = (
        "import os; from rushes.shared.http import certificate_bundle as joined;"
        f"path = joined({{}}, {file!r}); assert path == joined({{}}, {file!r}); "
        "child = os.fork();\nif child: os.waitpid(child, 0)\n"
        "print(open(path).read().count('BEGIN CERTIFICATE'), flush=True); os.kill(os.getpid(), 9)"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary)}
    completed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environ)

    counts = [int(count) for count in completed.stdout.split()]
    assert len(counts) == 2, completed.stderr  # the child's, and its parent's after it
    assert min(counts) > 1
    assert list(temporary.iterdir()) == []
