"""compose.prod.yaml's collector: OTLP over TLS, and nothing without the token."""

from __future__ import annotations

import http.client
import secrets
import shutil
import ssl
from collections.abc import Iterator

import grpc  # type: ignore[import-untyped]
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.collector.stack import compose, sending
from tests.collector.stack.certificate import certificate
from tests.collector.stack.places import SECRETS
from tests.collector.stack.programs import Stack

TOKEN, NEXT = secrets.token_urlsafe(24), secrets.token_urlsafe(24)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The collector as production starts it."""
    data = tmp_path_factory.mktemp("secure")
    with Stack(data, profile="") as stack:
        folder = stack.places.folder(SECRETS)
        certificate(folder)
        (folder / "otlp_token").write_text(f"{TOKEN}\n{NEXT}\n")
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


def grpc_status(stack: Stack, *, token: str | None, is_tls: bool = True) -> grpc.StatusCode:
    """The same through the other door, OTLP's own: gRPC."""
    address = f"127.0.0.1:{stack.places.port('collector', 4317)}"
    request = sending.spans(sending.Service("secure"), [sending.Span()])
    trusted = (stack.places.folder(SECRETS) / "tls_certificate").read_bytes()
    channel = (
        grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted))
        if is_tls
        else grpc.insecure_channel(address)
    )
    with channel:
        said = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            TraceServiceStub(channel).Export(  # type: ignore[no-untyped-call]
                request, timeout=10, metadata=said
            )
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("number", [0, 1])
def test_each_token_opens(number: int, secure: Stack) -> None:
    """Over TLS, with a token of those in the file, one a line: so one can follow another."""
    token = (TOKEN, NEXT)[number]
    assert status(secure, token=token) == 200
    assert grpc_status(secure, token=token) is grpc.StatusCode.OK


@pytest.mark.parametrize("token", [None, "another"])
def test_nothing_else_opens(token: str | None, secure: Stack) -> None:
    """Without the token, or with another one."""
    assert status(secure, token=token) == 401
    assert grpc_status(secure, token=token) is grpc.StatusCode.UNAUTHENTICATED


def test_plain_text_is_refused(secure: Stack) -> None:
    """The token does not travel in the open."""
    assert status(secure, token=TOKEN, is_tls=False) in (0, 400)
    assert grpc_status(secure, token=TOKEN, is_tls=False) is grpc.StatusCode.UNAVAILABLE


def test_no_secret_is_in_the_log(secure: Stack) -> None:
    """Whatever was refused, and why."""
    assert TOKEN not in secure.log("collector")
    assert NEXT not in secure.log("collector")
