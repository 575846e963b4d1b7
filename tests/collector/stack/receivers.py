"""Stand-ins for everybody whom Alertmanager calls: a web server, and a mail server that wants TLS and a password.

They keep what they are told, and refuse to know what it should have been.
"""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Message:
    """What somebody was told: the receiver's name, and the body as it came and as it is read."""

    receiver: str
    text: str
    body: dict[str, Any] = field(default_factory=dict)
    mail: email.message.EmailMessage | None = None


class _Serving:
    """A server in a thread, for the length of a block."""

    _server: socketserver.TCPServer

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Web(_Serving):
    """Takes posts to ``/NAME``, and answers as the receiver of that name does; a context manager.

    Those in ``refuses`` say that this address is none of theirs, and are told nothing.
    """

    def __init__(self, port: int) -> None:
        self.told: list[Message] = []
        self.refuses: set[str] = set()
        told, refuses = self.told, self.refuses

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"])).decode()
                name = self.path.strip("/").partition("/")[0]
                # Slack's is an error whatever its status says, unless it says this.
                answer = b"ok" if name == "slack" else b""
                status = {"slack": 200, "discord": 204, "pagerduty": 202}.get(name, 200)
                if name in refuses:
                    status, answer = 403, b"invalid_token"
                else:
                    told.append(Message(name, text, json.loads(text)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                """Nothing: the test says what it saw."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)


class Mail(_Serving):
    """Takes mail after STARTTLS and the right password, and from nobody else; a context manager.

    ``certificate`` holds the certificate, ``key`` its key; ``user`` and ``password`` are let in.
    """

    def __init__(self, port: int, certificate: Path, key: Path, user: str, password: str) -> None:
        self.told: list[Message] = []
        self.recipients: list[str] = []
        mail = self
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(certificate, key)
        right = base64.b64encode(f"\0{user}\0{password}".encode()).decode()

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                super().setup()
                self.is_secret = self.is_known = False

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def say(self, *lines: str) -> None:
                self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
                self.wfile.flush()

            def handle(self) -> None:
                self.say("220 here")
                # Not iter(): STARTTLS puts another file in its place.
                while line := self.rfile.readline():
                    verb, _, rest = line.decode().strip().partition(" ")
                    if verb == "QUIT":
                        self.say("221 bye")
                        return
                    self.take(verb, rest)

            def take(self, verb: str, rest: str) -> None:
                if verb == "EHLO":
                    self.say("250-here", "250 AUTH PLAIN" if self.is_secret else "250 STARTTLS")
                elif verb == "STARTTLS":
                    self.say("220 go on")
                    self.connection = secure.wrap_socket(self.connection, server_side=True)
                    self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
                    self.is_secret = True
                elif verb == "AUTH" and self.is_secret:
                    self.is_known = rest == f"PLAIN {right}"
                    self.say("235 welcome" if self.is_known else "535 who is that")
                elif not self.is_known:
                    self.say("530 who is that")
                elif verb == "DATA":
                    self.say("354 go on")
                    content = b"".join(self.content())
                    message = email.message_from_bytes(content, policy=email.policy.default)
                    body = message.get_body(("plain",))
                    text = f"{content.decode()}\n{body.get_content() if body else ''}"
                    mail.told.append(Message("email", text, mail=message))
                    self.say("250 taken")
                else:
                    if verb == "RCPT":
                        mail.recipients.append(rest)
                    self.say("250 well")

            def content(self) -> Iterator[bytes]:
                for line in iter(self.rfile.readline, b".\r\n"):
                    yield line.removeprefix(b".")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
