"""Settings: every field, every source, every wrong value."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surroundings import bare_environment

import otel_ws
from otel_ws import faults
from otel_ws.declarations import Declarations
from otel_ws.settings import Problem, Settings, SettingsError, problems, sdk_disabled, table
from otel_ws.thresholds import Thresholds

ROOT = str(Path(otel_ws.__file__).parents[1])
FIELDS = {one.name: one for one in dataclasses.fields(Settings)}

DEFAULTS: dict[str, Any] = {
    "enabled": True,
    "json_log": "",
    "console_log": False,
    "message_events": "slow",
    "runtime_dir": "",
    "group": "",
    "recent": False,
    "delivery_events": False,
    "message_traces": "linked",
    "message_sample_ratio": 1.0,
    "send_spans": "off",
    "connect_context": "parent",
    "metric_ids": (),
    "message_type_key": "type",
    "layer_context": "link",
    "message_context": "off",
    "layer_poll": 15.0,
    "max_connections": 0,
    "histograms": "ledger",
    "message_types": (),
    "gate": "",
    "policy": Declarations(),
    "thresholds": Thresholds(),
    "token_file": "",
    "trust_loopback": False,
    "pseudonym_key_file": "",
    "user_id_resolver": None,
    "role_resolver": None,
}


def resolver(scope: Mapping[str, Any]) -> object:
    """Say who is there."""
    return scope.get("who")


FLAGS = [
    (text, text.lower() in {"true", "1", "yes", "on"})
    for text in ["true", "True", "1", "yes", "on", "false", "FALSE", "0", "no", "off"]
]
# What may be written in the environment, and what it means.
RIGHT: dict[str, list[tuple[str, Any]]] = {
    "enabled": FLAGS,
    "json_log": [("stdout", "stdout"), ("events.jsonl", "events.jsonl"), ("events-{pid}.jsonl", "events-{pid}.jsonl")],
    "console_log": FLAGS,
    "message_events": [(text, text) for text in ["all", "sampled", "slow", "errors", "off"]] + [(" ALL ", "all")],
    "runtime_dir": [("/run/app", "/run/app"), (" /tmp ", "/tmp")],
    "group": [("blue", "blue"), (" green-2 ", "green-2")],
    "recent": FLAGS,
    "delivery_events": FLAGS,
    "message_traces": [(text, text) for text in ["linked", "child", "off"]],
    "message_sample_ratio": [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-3", 0.001)],
    "send_spans": [(text, text) for text in ["off", "slow", "all"]],
    "connect_context": [(text, text) for text in ["parent", "link", "ignore"]],
    "metric_ids": [("tournament.id", ("tournament.id",)), ("match.id, order.id", ("match.id", "order.id"))],
    "message_type_key": [("action", "action"), ("msg.kind", "msg.kind")],
    "message_context": [("off", "off"), ("LINK", "link")],
    "layer_poll": [("0", 0.0), ("0.1", 0.1), ("15", 15.0), ("3600", 3600.0)],
    "max_connections": [("0", 0), ("500", 500), ("999999999", 999_999_999)],
    "layer_context": [(text, text) for text in ["link", "parent", "off"]],
    "histograms": [("ledger", "ledger"), ("API", "api")],
    "message_types": [("chat", ("chat",)), ("chat.send,ping , pong", ("chat.send", "ping", "pong"))],
    "gate": [(text, text) for text in ["all", "own", "report"]] + [(" ALL ", "all")],
    "policy": [("policy.toml", Declarations(ids=("order.id",))), ("policy.json", Declarations(numbers=("orders",)))],
    "thresholds": [
        ("error_rate_degraded=0.02", Thresholds(error_rate_degraded=0.02)),
        ("cpu_degraded=0.5, queue_depth_unhealthy = 7", Thresholds(cpu_degraded=0.5, queue_depth_unhealthy=7.0)),
    ],
    "token_file": [("key", "key")],
    "trust_loopback": FLAGS,
    "pseudonym_key_file": [("key", "key")],
    "user_id_resolver": [("otel_ws.settings:table", "otel_ws.settings:table")],
    "role_resolver": [("otel_ws.settings:table", "otel_ws.settings:table")],
}
# What may be given as an argument, or in Django's settings, besides the same texts.
NATIVE: dict[str, list[tuple[Any, Any]]] = {
    "enabled": [(True, True), (False, False)],
    "json_log": [(Path("events.jsonl"), "events.jsonl")],
    "console_log": [(True, True), (False, False)],
    "message_events": [("off", "off")],
    "runtime_dir": [(Path("/run/app"), "/run/app"), ("", "")],
    "group": [("blue", "blue"), ("", "")],
    "recent": [(True, True), (False, False)],
    "delivery_events": [(True, True), (False, False)],
    "message_traces": [("child", "child")],
    "message_sample_ratio": [(0, 0.0), (0.5, 0.5), (1, 1.0)],
    "send_spans": [("all", "all")],
    "connect_context": [("link", "link")],
    "metric_ids": [(["match.id"], ("match.id",)), (("match.id", "order.id"), ("match.id", "order.id")), ((), ())],
    "message_type_key": [("action", "action")],
    "message_context": [("link", "link")],
    "layer_poll": [(0, 0.0), (15, 15.0), (0.5, 0.5)],
    "max_connections": [(0, 0), (500, 500)],
    "layer_context": [("parent", "parent")],
    "histograms": [("api", "api")],
    "message_types": [(["chat"], ("chat",)), ({"chat"}, ("chat",))],
    "gate": [("report", "report")],
    "policy": [
        (Path("policy.toml"), Declarations(ids=("order.id",))),
        ({"id": ["order.id"]}, Declarations(ids=("order.id",))),
        (Declarations(codes=("plan",)), Declarations(codes=("plan",))),
        ({}, Declarations()),
    ],
    "thresholds": [({"memory_degraded": 1}, Thresholds(memory_degraded=1.0)), ({}, Thresholds())],
    "token_file": [(Path("key"), "key")],
    "trust_loopback": [(True, True), (False, False)],
    "pseudonym_key_file": [(Path("key"), "key")],
    "user_id_resolver": [(resolver, resolver)],
    "role_resolver": [(resolver, resolver)],
}
WRONG: dict[str, list[str]] = {
    "enabled": ["maybe", "2", "truee"],
    "json_log": ["no-such-folder/events.jsonl", "stderr", "-", "./", "."],
    "console_log": ["maybe", "stderr"],
    "message_events": ["loud", "slow,errors", "true"],
    "runtime_dir": ["run/app", "."],
    "group": ["blue green", "1st", "a,b"],
    "recent": ["maybe", "200"],
    "delivery_events": ["maybe", "all"],
    "message_traces": ["parent", "on"],
    "message_sample_ratio": ["1.1", "-0.1", "nan", "half", "1e400"],
    "send_spans": ["fast", "true"],
    "connect_context": ["child", "true"],
    "metric_ids": ["user.id", "tournament.id,user.id", "room", "room id.id"],
    "message_type_key": ["a b", "1st", "a,b"],
    "message_context": ["parent", "true"],
    "layer_poll": ["-1", "0.01", "3601", "nan", "often", "1e400"],
    "max_connections": ["-1", "many", "1.5", "1000000000", "\u0665"],
    "layer_context": ["child", "on"],
    "histograms": ["sdk", "true"],
    "message_types": ["chat room", "chat;ping", "x" * 65, "1st"],
    "gate": ["off", "true", "all,own"],
    "policy": ["missing.json", "missing.toml", "policy.yaml", "policy", "."],
    "thresholds": ["error_rate=0.1", "cpu_degraded", "cpu_degraded=much", "cpu_degraded=-1", "cpu_degraded=nan", "=1"],
    "token_file": ["missing", ".", "short key", "everybodys key"],
    "trust_loopback": ["maybe", "127.0.0.1"],
    "pseudonym_key_file": ["missing", ".", "short key", "everybodys key"],
    "user_id_resolver": ["app.users", "app:", ":resolve", "app/users:resolve"],
    "role_resolver": ["app.users", "app:", ":resolve", "app:a.b"],
}


def pairs(table_of: Mapping[str, list[Any]]) -> list[Any]:
    """The rows of such a table, one test each, under a name that is the same in each process."""

    def told(row: Any) -> str:
        raw = row[0] if isinstance(row, tuple) else row
        return str(getattr(raw, "__name__", raw))

    return [pytest.param(name, row, id=f"{name}={told(row)}"[:50]) for name, rows in table_of.items() for row in rows]


def read(settings: Settings, name: str) -> Any:
    """A setting's value; of a resolver that was given by name, that name."""
    value = getattr(settings, name)
    return getattr(value, "path", value)


def start(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh Python with these variables."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**bare_environment(), "PYTHONPATH": ROOT, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths point into a folder that exists, is writable and has a policy and keys."""
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text('id = ["order.id"]\n')
    Path("policy.json").write_text('{"number": "orders"}')
    for name, length, mode in (("key", 32, 0o444), ("short key", 31, 0o400), ("everybodys key", 32, 0o666)):
        Path(name).write_bytes(b"k" * length)
        Path(name).chmod(mode)


# --- each field -------------------------------------------------------------------------------------------------
def test_the_tests_know_every_field() -> None:
    """A new setting needs a default, right values and wrong values here."""
    known = [set(rows) for rows in (DEFAULTS, RIGHT, NATIVE, WRONG)]

    assert [set(FIELDS)] * 4 == known


@pytest.mark.parametrize("name", FIELDS)
def test_a_setting_that_nobody_gave_has_its_default(name: str) -> None:
    """Without any source, a setting has its documented default."""
    loaded = Settings.load({}, {})

    assert DEFAULTS[name] == getattr(loaded, name)


@pytest.mark.parametrize(("name", "row"), pairs(RIGHT))
def test_the_environment_sets_it(name: str, row: tuple[str, Any]) -> None:
    """``OTEL_WS_NAME`` sets the field ``name``."""
    raw, expected = row

    loaded = Settings.load({f"OTEL_WS_{name.upper()}": raw}, {})

    assert expected == read(loaded, name)


@pytest.mark.parametrize(("name", "row"), pairs(RIGHT) + pairs(NATIVE))
def test_an_argument_sets_it(name: str, row: tuple[Any, Any]) -> None:
    """A keyword argument sets the field, as a text or as what it is."""
    raw, expected = row

    loaded = Settings.load({}, {}, **{name: raw})

    assert expected == read(loaded, name)


@pytest.mark.parametrize(("name", "row"), pairs(RIGHT) + pairs(NATIVE))
def test_djangos_settings_set_it(name: str, row: tuple[Any, Any]) -> None:
    """A key of Django's ``OTEL_WS`` sets the field, in upper or lower case."""
    raw, expected = row

    loaded = [read(Settings.load({}, {key: raw}), name) for key in (name, name.upper())]

    assert [expected, expected] == loaded


@pytest.mark.parametrize(("name", "raw"), pairs(WRONG))
def test_a_wrong_variable_is_named_with_its_value_and_what_is_allowed(name: str, raw: str) -> None:
    """A wrong value in the environment is told by variable, value and allowed values."""
    (problem,) = problems({f"OTEL_WS_{name.upper()}": raw}, {})

    form = FIELDS[name].metadata["form"]
    assert form is None or form.fullmatch(raw)
    expected = Problem(f"OTEL_WS_{name.upper()}", raw[:60], FIELDS[name].metadata["allowed"])
    assert expected == problem
    assert f"OTEL_WS_{name.upper()}='{raw[:60]}' is not valid; allowed: {expected.allowed}." == str(problem)


PASTED = {
    "a URL with a password": "postgres://u:SECRET@db.example/app",
    "JSON": '{"id": ["SECRET"]}',
    "hexadecimal digits": "5ec2e7" * 8,
    "Base64": "U0VDUkVUc2VjcmV0U0VDUkVUc2VjcmV0U0VDUkU=",
    "Base64 with slashes": "U0VD/UkVUc2VjcmV0/U0VDUkVUc2VjcmV0U0V/DUkU",
    "Base64 with signs": "+0VDUkVUc2Vj-cmV0_SECRET",
    "a key of a vendor": "sk_live_51H8xSECRETsecret0123456789",
    "a token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTRUNSRVQifQ.c2ln",
    "an e-mail address": "SECRET@mail.example",
    "a telephone number": "4915112345678",
}
NAMED = ["json_log", "policy", "pseudonym_key_file", "user_id_resolver", "role_resolver"]


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_path_or_name_is_not_repeated(name: str, pasted: str) -> None:
    """Who pastes the secret itself where its file belongs is told what belongs there, and nothing else."""
    for found in (problems({f"OTEL_WS_{name.upper()}": pasted}, {}), problems({}, {name: pasted})):
        for problem in found:
            assert problem.value is None
            assert pasted[:8] not in str(problem)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("policy", "/etc/otel-ws/policy.yaml"),
        ("policy", "config/missing.toml"),
        ("pseudonym_key_file", "/run/secrets/otel_ws_key"),
        ("pseudonym_key_file", "./missing"),
        ("user_id_resolver", "project.accounts.users"),
    ],
)
def test_a_path_or_name_is_repeated(name: str, raw: str) -> None:
    """A mistyped path is found again by its text."""
    (problem,) = problems({f"OTEL_WS_{name.upper()}": raw}, {})

    assert raw == problem.value


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name here")
def test_a_pipe_is_no_policy(tmp_path: Path) -> None:
    """Opening a pipe would wait for whoever writes to it: it is refused before it is opened."""
    os.mkfifo(tmp_path / "pipe.json")

    (problem,) = problems({"OTEL_WS_POLICY": "pipe.json"}, {})

    assert "OTEL_WS_POLICY" == problem.name


@pytest.mark.parametrize(("name", "raw"), pairs(WRONG))
def test_a_wrong_argument_is_named(name: str, raw: str) -> None:
    """A wrong argument is told as an argument."""
    (problem,) = problems({}, {}, **{name: raw})

    assert f"argument {name}" == problem.name


@pytest.mark.parametrize(("name", "raw"), pairs(WRONG))
def test_a_wrong_key_of_djangos_settings_is_named(name: str, raw: str) -> None:
    """A wrong value in Django's settings is told as ``OTEL_WS['name']``."""
    (problem,) = problems({}, {name: raw})

    assert f"OTEL_WS['{name}'] in Django's settings" == problem.name


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "raw", [object(), 3.5j, b"\xff", [[]], 10**400], ids=["object", "complex", "bytes", "list", "huge"]
)
def test_a_value_of_any_type_is_a_problem_or_a_value(name: str, raw: object) -> None:
    """A value of a type that nobody expects is told like any wrong value, and raises nothing else."""
    found = problems({}, {}, **{name: raw})

    assert [] == [problem for problem in found if problem.name != f"argument {name}"]


@given(environ=st.dictionaries(st.sampled_from([f"OTEL_WS_{name.upper()}" for name in FIELDS]), st.text(max_size=70)))
def test_no_environment_makes_reading_raise(environ: dict[str, str]) -> None:
    """Whatever the variables hold, they are read or told."""
    found = problems(environ, {})

    assert {problem.name for problem in found} <= set(environ)


# --- precedence -------------------------------------------------------------------------------------------------
def test_an_argument_wins_over_the_environment() -> None:
    """Code that says so wins over a variable."""
    loaded = Settings.load({"OTEL_WS_SEND_SPANS": "slow"}, {"SEND_SPANS": "off"}, send_spans="all")

    assert "all" == loaded.send_spans


def test_the_environment_wins_over_django() -> None:
    """A variable wins over Django's settings."""
    loaded = Settings.load({"OTEL_WS_SEND_SPANS": "slow"}, {"SEND_SPANS": "all"})

    assert "slow" == loaded.send_spans


def test_django_wins_over_the_default() -> None:
    """Django's settings win over the default."""
    loaded = Settings.load({}, {"SEND_SPANS": "all"})

    assert "all" == loaded.send_spans


def test_an_argument_of_none_says_nothing() -> None:
    """``None`` as an argument leaves the decision to the other sources."""
    loaded = Settings.load({"OTEL_WS_SEND_SPANS": "slow"}, {}, send_spans=None)

    assert "slow" == loaded.send_spans


def test_an_empty_variable_says_nothing() -> None:
    """An empty variable counts as not set, as OpenTelemetry has it."""
    loaded = Settings.load({"OTEL_WS_SEND_SPANS": ""}, {"SEND_SPANS": "all"})

    assert "all" == loaded.send_spans


def test_a_false_argument_is_said() -> None:
    """``False`` is a value: it wins over a variable."""
    loaded = Settings.load({"OTEL_WS_ENABLED": "true"}, {}, enabled=False)

    assert not loaded.enabled


def test_a_wrong_value_is_told_though_another_source_wins() -> None:
    """A wrong variable is a problem even where an argument wins: the next start may be without it."""
    found = problems({"OTEL_WS_SEND_SPANS": "fast"}, {}, send_spans="all")

    assert ["OTEL_WS_SEND_SPANS"] == [problem.name for problem in found]


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, the variables are those of the process."""
    monkeypatch.setenv("OTEL_WS_SEND_SPANS", "slow")

    loaded = Settings.load()

    assert "slow" == loaded.send_spans


def test_variables_of_others_are_left_alone() -> None:
    """A variable that does not begin with ``OTEL_WS_`` is none of ours."""
    found = problems({"OTEL_WSX": "1", "OTEL_SERVICE_NAME": "tournament", "WS_ENABLED": "maybe"}, {})

    assert [] == found


# --- wrong names, and all at once -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("django", "arguments"), [({"JSONLOG": "stdout"}, {}), ({}, {"jsonlog": "stdout"})], ids=["django", "argument"]
)
def test_an_unknown_name_gets_a_suggestion(django: dict[str, str], arguments: dict[str, str]) -> None:
    """A misspelled name in code is told, with the name that was probably meant."""
    (problem,) = problems({}, django, **arguments)

    assert "jsonlog" in problem.name.lower()
    assert "there is no such setting, did you mean json_log" in str(problem)


def test_an_unknown_name_like_no_other_gets_no_suggestion() -> None:
    """A name that resembles no setting is told without a guess."""
    (problem,) = problems({}, {}, xyzzy="1")

    assert "argument xyzzy: there is no such setting." == str(problem)


def test_an_unknown_variable_is_warned_of_by_its_name_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Platforms put variables of this form into every process: a stranger's does not stop it, nor is it printed."""
    faults.reset()

    with caplog.at_level(logging.WARNING, "otel_ws"):
        found = problems({"OTEL_WS_COLLECTOR_SERVICE_HOST": "198.51.100.7", "OTEL_WS_JSONLOG": "a-token"}, {})

    assert [] == found
    assert "OTEL_WS_COLLECTOR_SERVICE_HOST is not one of its settings" in caplog.text
    assert "did you mean OTEL_WS_JSON_LOG?" in caplog.text
    assert "198.51" not in caplog.text
    assert "a-token" not in caplog.text


def test_switched_off_is_off_whatever_else_is_wrong() -> None:
    """The way back works: with ``enabled`` false no other setting is judged."""
    assert Settings(enabled=False) == Settings.load({"OTEL_WS_ENABLED": "false", "OTEL_WS_SEND_SPANS": "loud"}, {})


def test_all_problems_are_told_at_once() -> None:
    """One start tells everything that is wrong, each on its line."""
    environ = {f"OTEL_WS_{name.upper()}": rows[0] for name, rows in WRONG.items()}

    with pytest.raises(SettingsError) as told:
        Settings.load(environ, {"XYZZY": 1}, jsonlog="stdout")

    lines = str(told.value).splitlines()
    assert "otel-ws cannot start:" == lines[0]
    assert len(WRONG) + 2 == len(lines) - 1
    assert all(any(line.startswith(f"  {name}=") for line in lines) for name in environ)


def test_right_settings_have_no_problems() -> None:
    """Where everything is right, there is nothing to tell."""
    environ = {f"OTEL_WS_{name.upper()}": rows[0][0] for name, rows in RIGHT.items()}

    found = problems(environ, {})

    assert [] == found


def test_a_long_value_is_shown_in_part() -> None:
    """A wrong value is shown as far as one needs to recognise it."""
    (problem,) = problems({"OTEL_WS_SEND_SPANS": "x" * 1000}, {})

    assert "x" * 60 == problem.value


# --- a log file -------------------------------------------------------------------------------------------------
def test_a_folder_is_no_log_file(tmp_path: Path) -> None:
    """The path of a folder is refused."""
    found = problems({}, {}, json_log=str(tmp_path))

    assert ["argument json_log"] == [problem.name for problem in found]


def test_a_path_is_kept_as_it_was_given(tmp_path: Path) -> None:
    """A path in a folder that exists is taken, file or no file."""
    path = tmp_path / "events.jsonl"

    loaded = Settings.load({}, {}, json_log=path)

    assert str(path) == loaded.json_log


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    """A path in a folder that this process may not write to is refused at start-up."""
    tmp_path.chmod(0o500)

    found = problems({}, {}, json_log=str(tmp_path / "events.jsonl"))

    assert ["argument json_log"] == [problem.name for problem in found]


# --- a policy file ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", "{", "a.json: it is not JSON at line 1, column 2"),
        ("a.toml", "id = [\nalice", "a.toml: it is not TOML at line 2, column 1"),
        ("a.json", "[]", "a.json: it holds no words of otel_ws.declare() with their values"),
        ("a.json", '{"text": ["comment"]}', "a.json: text: there is no such word"),
        ("a.toml", 'id = ["order.id", "alice"]', "a.toml: id, value 2: an id's key is"),
        ("a.toml", '[choice]\n"user.email" = ["alice"]', "a.toml: choice, key 1: user.email is for people"),
        ("a.toml", '[choice]\nplan = ["free", "a b"]', "a.toml: choice, key 1, value 2: a code name is"),
        ("a.toml", "number = 7", "a.toml: number, value 1: a key is"),
    ],
)
def test_what_is_wrong_in_a_policy_file_is_told_by_its_place(name: str, content: str, reason: str) -> None:
    """File, place and what is allowed are told, and nothing of what stands there."""
    Path(name).write_text(content)

    (problem,) = problems({"OTEL_WS_POLICY": name}, {})

    assert str(problem).startswith(f"OTEL_WS_POLICY: {reason}")
    assert "alice" not in str(problem)


def test_everything_wrong_in_a_policy_file_is_told_at_once() -> None:
    """Each wrong declaration has a line of its own."""
    Path("a.json").write_text('{"id": ["Order.Id", "order.id"], "code": ["user.name"], "roles": ["the boss"]}')

    found = problems({"OTEL_WS_POLICY": "a.json"}, {})

    assert 3 == len(found)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"1" * 1_000_001], ids=["bytes", "deep", "large"])
def test_a_policy_file_that_cannot_be_parsed_is_told(content: bytes) -> None:
    """Whatever is in the file, it is told as one problem."""
    Path("a.json").write_bytes(content)

    (problem,) = problems({"OTEL_WS_POLICY": "a.json"}, {})

    assert "OTEL_WS_POLICY" == problem.name


def test_a_wrong_policy_file_stops_the_start_without_a_traceback() -> None:
    """A server with a wrong policy does not start, and says why in a plain text."""
    Path("a.toml").write_text('template = ["alice@example.com"]\n')

    done = start("import otel_ws; otel_ws.WebSocketMiddleware(object())", OTEL_WS_POLICY="a.toml")

    assert 1 == done.returncode
    assert "a.toml: template, value 1: an exact text" in done.stderr
    assert "Traceback" not in done.stderr
    assert "alice" not in done.stderr


# --- ids on metrics ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["user.id", "ws.connection.id"])
def test_an_id_that_never_is_a_label_is_refused(name: str) -> None:
    """Connections cannot be broken down by user, or by connection: those ids never are labels."""
    found = problems({"OTEL_WS_METRIC_IDS": name}, {})

    assert ["OTEL_WS_METRIC_IDS"] == [problem.name for problem in found]


# --- resolvers --------------------------------------------------------------------------------------------------
def test_a_resolver_given_by_name_is_imported_when_it_is_first_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver's module is not imported at start-up, when the application may not be ready."""
    monkeypatch.syspath_prepend(tmp_path)
    loaded = Settings.load({"OTEL_WS_ROLE_RESOLVER": "late_roles:role"}, {})
    (tmp_path / "late_roles.py").write_text("def role(scope):\n    return scope['who']\n")

    role = loaded.role_resolver and loaded.role_resolver({"who": "admin"})

    assert "admin" == role


def test_a_resolver_given_by_name_is_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second question goes to the function that the first one found."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "once_roles.py").write_text("def role(scope):\n    return 'player'\n")
    loaded = Settings.load({"OTEL_WS_ROLE_RESOLVER": "once_roles:role"}, {})
    assert loaded.role_resolver is not None
    loaded.role_resolver({})
    sys.modules.pop("once_roles")

    loaded.role_resolver({})

    assert "once_roles" not in sys.modules


# --- the value itself -------------------------------------------------------------------------------------------
def test_settings_do_not_change() -> None:
    """Settings are frozen: a change means a new start."""
    loaded = Settings.load({}, {})

    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.enabled = False  # type: ignore[misc]


def test_the_same_settings_are_equal() -> None:
    """Two readings of the same sources are equal, so that a second start can tell whether anything changed."""
    environ = {"OTEL_WS_SEND_SPANS": "slow", "OTEL_WS_MESSAGE_TYPES": "chat,ping"}

    assert Settings.load(environ, {}) == Settings.load(environ, {})


def test_the_same_named_resolvers_are_equal() -> None:
    """A resolver that is given by the same name twice is the same setting."""
    environ = {"OTEL_WS_ROLE_RESOLVER": "app.roles:role"}

    assert Settings.load(environ, {}) == Settings.load(environ, {})


# --- documentation ----------------------------------------------------------------------------------------------
def test_the_table_has_a_row_for_each_field() -> None:
    """The documentation's table is complete, in the order of the fields."""
    rows = table()

    assert [f"OTEL_WS_{name.upper()}" for name in FIELDS] == [row[0] for row in rows]


@pytest.mark.parametrize("row", table(), ids=lambda row: str(row[0]))
def test_a_row_says_what_is_allowed_and_what_it_does(row: tuple[str, str, str, str]) -> None:
    """Every row has the allowed values and a sentence."""
    _, _, allowed, doc = row

    assert allowed
    assert doc.endswith(".")


@pytest.mark.parametrize("row", table(), ids=lambda row: str(row[0]))
def test_a_default_in_the_table_can_be_set(row: tuple[str, str, str, str]) -> None:
    """The default that the table shows is a right value, and is the default."""
    variable, default, _, _ = row

    loaded = Settings.load({variable: default}, {})

    assert Settings.load({}, {}) == loaded


# --- OTEL_SDK_DISABLED ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("raw", "expected"), [("true", True), ("TRUE", True), (" true ", True), ("false", False), ("1", False), ("", False)]
)
def test_the_sdk_is_disabled_by_true_alone(raw: str, expected: bool) -> None:
    """``OTEL_SDK_DISABLED`` is read as the specification says: ``true`` in any case, nothing else."""
    disabled = sdk_disabled({"OTEL_SDK_DISABLED": raw})

    assert expected is disabled


def test_the_sdk_is_not_disabled_by_default() -> None:
    """Without the variable the SDK is on."""
    disabled = sdk_disabled({})

    assert disabled is False


# --- at start-up ------------------------------------------------------------------------------------------------
def test_a_wrong_setting_ends_the_start_with_a_text_and_no_traceback() -> None:
    """A server with a wrong variable ends at once, with status 1 and a text for its operator."""
    done = start(
        "import otel_ws; otel_ws.WebSocketMiddleware(object())",
        OTEL_WS_MESSAGE_EVENTS="loud",
        OTEL_WS_JSONLOG="stdout",
    )

    lines = done.stderr.splitlines()
    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
    assert "otel-ws cannot start:" in lines
    assert "  OTEL_WS_MESSAGE_EVENTS='loud' is not valid; allowed: all, sampled, slow, errors, off." in lines
    assert any("did you mean OTEL_WS_JSON_LOG" in line for line in lines)


def test_a_right_start_says_nothing() -> None:
    """A server with right variables starts in silence."""
    done = start("import otel_ws; otel_ws.WebSocketMiddleware(object())", OTEL_WS_MESSAGE_EVENTS="all")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "environ",
    [{"OTEL_WS_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}],
    ids=["OTEL_WS_ENABLED", "OTEL_SDK_DISABLED"],
)
def test_where_telemetry_is_off_the_application_itself_comes_back(environ: dict[str, str]) -> None:
    """With telemetry off there is no wrapper: the very object comes back."""
    done = start("import otel_ws; app = object(); assert otel_ws.WebSocketMiddleware(app) is app", **environ)

    assert (0, "") == (done.returncode, done.stderr)
