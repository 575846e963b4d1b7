"""Names of groups and channels that a project's code makes: found by reading its source, and shown to nobody.

It reads the files of loaded modules that are the project's own, and runs none of them. A name is known as far as the
code says it: ``f"room_{pk}"`` is ``room_0``. It refuses to know what is declared.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

# What stands for a part that only the running application knows.
_PART: Final = "0"
_PERCENT: Final = re.compile(r"%(?:\([^)]*\))?[-#0 +]*[\d*]*(?:\.[\d*]+)?[a-zA-Z]")
_BRACES: Final = re.compile(r"\{[^{}]*\}")
_GROUP_VERBS: Final = frozenset({"group_add", "group_discard", "group_send"})
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
# A name that is made of names that are made of names.
_DEEPEST: Final = 8
_LARGEST: Final = 2_000_000


class Name(NamedTuple):
    """A name as the code makes it, and where it is used."""

    sample: str
    place: str


def in_code(own: str) -> list[Name]:
    """The names that the project's loaded modules, among them those of the package ``own``, give to a channel layer."""
    found: list[Name] = []
    for path in sorted(_files(own)):
        try:
            if path.stat().st_size > _LARGEST:
                continue
            source = path.read_text(encoding="utf-8")
            if "group_" in source or ".send" in source:
                found += [Name(sample, f"{path.name}, line {line}") for sample, line in names_in(source)]
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return found


def _files(own: str) -> set[Path]:
    libraries = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        package = name.partition(".")[0]
        if not isinstance(file, str) or not file.endswith(".py") or package == "otel_ws":
            continue
        path = Path(file)
        is_library = not _INSTALLED.isdisjoint(path.parts) or not libraries.isdisjoint(path.parents)
        if package == own or not is_library:
            found.add(path)
    return found


def names_in(source: str) -> Iterator[tuple[str, int]]:
    """The names that a module's source gives to a channel layer, with the line of each use.

    Raises:
        SyntaxError: it is not Python.
    """
    tree = ast.parse(source)
    known = _Known(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (given := _given(node)) is not None:
            for sample in dict.fromkeys(known.values(given)):
                # Where nothing is known but that there is a name, nothing can be said; a consumer's own needs none.
                if sample.strip(_PART) and "!" not in sample:
                    yield sample, node.lineno


def _given(call: ast.Call) -> ast.expr | None:
    """What a call gives to a channel layer as a group's or a channel's name, if it does."""
    method = call.func
    if isinstance(method, ast.Call) and method.args:
        # async_to_sync(layer.group_send)(…)
        method = method.args[0]
    if not isinstance(method, ast.Attribute):
        return None
    if method.attr in _GROUP_VERBS:
        keyword = "group"
    elif method.attr == "send" and _is_layer(method.value):
        keyword = "channel"
    else:
        return None
    if call.args:
        return call.args[0]
    return next((one.value for one in call.keywords if one.arg == keyword), None)


def _is_layer(node: ast.expr) -> bool:
    """Whether something is called a layer."""
    if isinstance(node, ast.Call):
        node = node.func
    return "layer" in _name(node).lower()


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


class _Known:
    """What a module's names may stand for: whatever is given to them, or returned by them, anywhere in it."""

    def __init__(self, tree: ast.Module) -> None:
        self._given: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._learn(_name(target), node.value)
            elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
                self._learn(_name(node.target), node.value)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for one in ast.walk(node):
                    if isinstance(one, ast.Return) and one.value is not None:
                        self._learn(node.name, one.value)

    def _learn(self, name: str, value: ast.expr) -> None:
        if name:
            self._given.setdefault(name, []).append(value)

    def values(self, node: ast.expr, depth: int = 0) -> list[str]:
        """The texts that an expression may be; ``_PART`` for each part of them that is not in the code."""
        if depth > _DEEPEST:
            return []
        if isinstance(node, ast.NamedExpr):
            node = node.value
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            return ["".join(str(one.value) if isinstance(one, ast.Constant) else _PART for one in node.values)]
        if isinstance(node, ast.IfExp):
            return [*self.values(node.body, depth + 1), *self.values(node.orelse, depth + 1)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return [_PERCENT.sub(_PART, one) for one in self.values(node.left, depth + 1)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined(node.left, node.right, depth)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
                return [_BRACES.sub(_PART, one) for one in self.values(node.func.value, depth + 1)]
            node = node.func
        given: Iterable[ast.expr] = self._given.get(_name(node), ())
        return [sample for one in given for sample in self.values(one, depth + 1)]

    def _joined(self, left: ast.expr, right: ast.expr, depth: int) -> list[str]:
        before, after = (self.values(one, depth + 1) or [_PART] for one in (left, right))
        return [one + other for one in before[:_DEEPEST] for other in after[:_DEEPEST]]
