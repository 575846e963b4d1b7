"""The way in for people who have the token and no session: a form of one field, and a cookie that stands for it.

The cookie is made from the token and an hour, so that every worker knows it, nobody can make one without the token,
and changing the token ends them all. It repeats nothing of what was typed.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from otel_ws.endpoints.access import COOKIE, SIGNED_IN_SECONDS, sign_in, takes_tokens
from otel_ws.endpoints.routes import HTML, Reply, Request

_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Sign in - otel-ws</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="icon.svg" type="image/svg+xml"><link rel="stylesheet" href="page.css"></head>
<body><main class="sign-in"><h1>otel-ws</h1>
{body}
</main></body>
</html>
"""
_FORM: Final = """<form method="post">
<label for="token">Token of the monitoring endpoints</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Sign in</button>
</form>"""
_WRONG: Final = '<p role="alert">This is not the token.</p>\n'
_CLOSED: Final = (
    "<p>This page is for staff of the project. Sign in there, or set <code>OTEL_WS_TOKEN_FILE</code> to sign in "
    "here with a token.</p>"
)


def form(status: int = 401, wrong: bool = False) -> Reply:
    """The page that asks for the token, or says where one is set."""
    body = f"{_WRONG if wrong else ''}{_FORM}" if takes_tokens() else _CLOSED
    challenge = (("WWW-Authenticate", 'Bearer realm="otel-ws"'),) if status == 401 else ()
    return Reply(status, _PAGE.format(body=body).encode(), HTML, challenge)


def answer(request: Request) -> Reply:
    """Whoever sent the token gets the cookie and is sent to the page."""
    try:
        offered = parse_qs(request.body.decode("latin-1"), max_num_fields=4).get("token", [""])[-1]
    except ValueError:
        offered = ""
    value = sign_in(offered)
    if value is None:
        return form(wrong=True)
    secure = "; Secure" if request.is_secure else ""
    cookie = f"{COOKIE}={value}; Max-Age={SIGNED_IN_SECONDS}; Path=/; HttpOnly; SameSite=Strict{secure}"
    return Reply(303, headers=(("Location", "./"), ("Set-Cookie", cookie)))
