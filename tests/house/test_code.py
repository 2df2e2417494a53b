"""How code is written here: small, explained, without state of its own, nothing left for later."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.house.tree import PACKAGES, functions, length, modules, short, under

WRITTEN = (*PACKAGES, "tests", "tools")
LATER = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|NotImplemented" r"Error)\b")
Function = ast.FunctionDef | ast.AsyncFunctionDef
# Words with which a module would read the clock or the environment by itself.
CLOCK = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time")}


def text(file: Path) -> str:
    """Return the file as text."""
    return file.read_text(encoding="utf-8", errors="replace")


def test_no_file_is_longer_than_400_lines() -> None:
    sizes = {short(file): len(file.read_text(encoding="utf-8").splitlines()) for file, _ in modules(*WRITTEN)}
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    sizes = {f"{short(file)}: {f.name}": length(f) for file, tree in modules(*WRITTEN) for f in functions(tree)}
    assert {name: size for name, size in sizes.items() if size > 60} == {}


def test_nine_functions_in_ten_are_under_30_lines() -> None:
    sizes = sorted(length(f) for _, tree in modules(*PACKAGES) for f in functions(tree))
    assert sizes[len(sizes) * 9 // 10] < 30


def test_nothing_is_left_for_later() -> None:
    found = [short(file) for file in under(*WRITTEN, "docs", ".ci", "docker") if LATER.search(text(file))]
    assert found == []


def test_every_module_starts_with_a_sentence() -> None:
    for file, tree in modules(*WRITTEN):
        if tree.body:
            said = ast.get_docstring(tree)
            assert said, short(file)
            first = said.split("\n\n")[0]
            assert re.search(r"([.:]|https?://\S+)$", first), f"{short(file)}: {first}"


def test_every_module_postpones_its_annotations() -> None:
    for file, tree in modules(*WRITTEN):
        if any(not isinstance(node, ast.Expr) for node in tree.body):
            heads = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
            assert heads, short(file)


def test_what_is_public_has_a_docstring() -> None:
    bare = [
        f"{short(file)}: {node.name}"
        for file, tree in modules(*PACKAGES)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert bare == []


def test_no_function_changes_a_modules_state() -> None:
    found = [short(f) for f, tree in modules(*PACKAGES) for n in ast.walk(tree) if isinstance(n, ast.Global)]
    assert found == []


def test_only_the_clock_reads_the_clock() -> None:
    found = [
        f"{short(file)}:{node.lineno}"
        for file, tree in modules(*PACKAGES)
        if short(file) != "fhir_server/clock.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in CLOCK
    ]
    assert found == []


def test_no_circle_is_hidden_from_the_linter() -> None:
    found = [short(file) for file in under(*PACKAGES, suffix=".py") if "TYPE_CHECKING" in text(file)]
    assert found == []


def test_every_test_can_fail() -> None:
    """A test without an assertion or a helper that checks says nothing, unless its name tells what may not fail."""
    found = [(file, f) for file, tree in modules("tests") for f in functions(tree)]
    checking = checkers([function for _, function in found])
    mute = [
        f"{short(file)}: {function.name}"
        for file, function in found
        if function.name.startswith("test_") and "_not_" not in function.name and not can_fail(function, checking)
    ]
    assert mute == []


def checkers(written: list[Function]) -> set[str]:
    """Return the names of the helpers that can fail a test, also by calling another one."""
    known = {"raises", "fail"}
    while more := {f.name for f in written if can_fail(f, known)} - known:
        known |= more
    return known


def can_fail(function: Function, checking: set[str]) -> bool:
    """Return whether the function asserts, raises on purpose, bounds a wait, or calls what does."""
    return any(
        isinstance(node, ast.Assert | ast.Raise)
        or called(node) in checking | {"timeout", "wait_for"}
        or called(node).startswith("assert_")
        for node in ast.walk(function)
    )


def called(node: ast.AST) -> str:
    """Return the name of what is called here, or nothing."""
    name = node.func if isinstance(node, ast.Call) else None
    return name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else ""


SQL = re.compile(r"\s*(select|insert into|update \w+ set|delete from|with (recursive )?\w+ as|truncate) ", re.I)


def test_sql_stands_in_the_store_and_in_the_search_alone() -> None:
    # Searches are made into statements there; the store alone has others.
    found = [
        f"{short(file)}:{node.lineno}"
        for file, tree in modules("fhir_server")
        if not {"store", "search"} & set(file.parts)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]
    assert found == []
