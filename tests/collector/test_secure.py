"""compose.prod.yaml's collector: OTLP over TLS, and nothing without the token."""

from __future__ import annotations

import datetime as dt
import http.client
import ipaddress
import secrets
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.collector.stack import compose, sending
from tests.collector.stack.places import SECRETS
from tests.collector.stack.programs import Stack

TOKEN = secrets.token_urlsafe(24)


def certificate(folder: Path) -> Path:
    """A certificate for loopback, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls_certificate").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "tls_key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return folder / "tls_certificate"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The collector as production starts it."""
    data = tmp_path_factory.mktemp("secure")
    with Stack(data, profile="") as stack:
        folder = stack.places.folder(SECRETS)
        certificate(folder)
        (folder / "otlp_token").write_text(TOKEN)
        service = compose.load("compose.yaml", "compose.prod.yaml", environment={"BIND_ADDRESS": "127.0.0.1"})
        last = compose.command(service["services"]["collector"])[-1]
        stack.more_options["collector"] = [stack.places.text("collector", last)]
        stack.start("collector")
        yield stack
    shutil.rmtree(data, ignore_errors=True)


def status(stack: Stack, *, token: str | None, is_tls: bool = True) -> int:
    """What the collector answers to a request; 0 where it closes the door at once."""
    port = stack.places.port("collector", 4318)
    body = sending.spans(sending.Service("secure"), [sending.Span()]).SerializeToString()
    trusted = ssl.create_default_context(cafile=str(stack.places.folder(SECRETS) / "tls_certificate"))
    door: http.client.HTTPConnection
    if is_tls:
        door = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusted)
    else:
        door = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    said = {"content-type": "application/x-protobuf"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        door.request("POST", "/v1/traces", body, said)
        return door.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        door.close()


def test_the_token_opens(secure: Stack) -> None:
    """Over TLS, with the token."""
    assert status(secure, token=TOKEN) == 200


@pytest.mark.parametrize("token", [None, "another"])
def test_nothing_else_opens(token: str | None, secure: Stack) -> None:
    """Without the token, or with another one."""
    assert status(secure, token=token) == 401


def test_plain_text_is_refused(secure: Stack) -> None:
    """The token does not travel in the open."""
    assert status(secure, token=TOKEN, is_tls=False) in (0, 400)


def test_no_secret_is_in_the_log(secure: Stack) -> None:
    """Whatever was refused, and why."""
    assert TOKEN not in secure.log("collector")
