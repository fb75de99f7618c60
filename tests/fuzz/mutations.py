"""Mutations of files: of their bytes, and of the values of a json or yaml file. The same seed gives the same one."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import yaml

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, float("nan"), float("inf"), 1e308, 2**31, 2**63, -(2**64), 10**30,
    "", "0", "1", "nan", "x" * 500, "\ud800", "\x1b[31m", "=1+1", "$x^{", "日本語", "../../etc/passwd", "/dev/zero",
    [], {}, [[]], [None], [0] * 7, {"id": 1}, "a\nb", "\0",
)  # fmt: skip
DEEP = 3000  # levels of nested lists, more than Python's recursion limit


class Mutation(NamedTuple):
    """The content of a mutated file, what was done to it, in words, and whether that was one thing."""

    content: bytes
    words: str
    single: bool = True


class Format(NamedTuple):
    """How a kind of file is read, written, and mutated besides in its bytes.

    Attributes:
        load, dump: from bytes and to bytes.
        values: another mutation of what was loaded than `of_values`.
        container: a mutation of the file as an archive; None mutates only its bytes and values.
    """

    load: Callable[[bytes], Any]
    dump: Callable[[Any], bytes]
    values: Callable[[Any, Random], tuple[Any, str]] | None = None
    container: Callable[[bytes, Random], tuple[bytes, str]] | None = None


JSON = Format(json.loads, lambda content: json.dumps(content).encode())
YAML = Format(yaml.safe_load, lambda content: yaml.safe_dump(content).encode("utf-8", "surrogatepass"))


def mutate(content: bytes, form: Format | None, seed: int | str) -> Mutation:
    """A mutation of a file: of its bytes in a third of the cases, otherwise of one of its values, or of three."""
    random = Random(seed)
    if form is None or random.random() < 0.33:
        return _of_bytes(content, random)
    if form.container is not None and random.random() < 0.25:
        changed, done = form.container(content, random)
        return Mutation(changed, done, single=False)
    tree = form.load(content)
    values = form.values or of_values
    words = []
    for _ in range(random.choice((1, 1, 1, 1, 3))):
        tree, done = values(tree, random)
        words.append(done)
    if form.values is None and random.random() < 0.01:
        deep = form.dump(tree).rstrip()[:-1] + b', "deep": ' + b"[" * DEEP + b"]" * DEEP + b"}"
        return Mutation(deep, f"{'; '.join(words)}; {DEEP} nested lists")
    return Mutation(form.dump(tree), "; ".join(words), len(words) == 1)


def _of_bytes(content: bytes, random: Random) -> Mutation:
    start = random.randrange(len(content))
    stop = min(len(content), start + random.choice((1, 1, 4, 50, 1000)))
    where = f"bytes {start} to {stop}"
    kind = random.choice(("flip", "flip", "flip", "delete", "double", "truncate", "insert", "zero", "encode", "empty"))
    if kind == "flip":
        bit = 1 << random.randrange(8)
        return Mutation(
            content[:start] + bytes([content[start] ^ bit]) + content[start + 1 :], f"flip {bit} at {start}"
        )
    if kind == "delete":
        return Mutation(content[:start] + content[stop:], f"delete {where}")
    if kind == "double":
        return Mutation(content[:stop] + content[start:], f"double {where}")
    if kind == "truncate":
        return Mutation(content[:start], f"truncate at {start}")
    if kind == "insert":
        inserted = random.choice((b"\xff", b"\0", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"-", b"9", b"e9", b",", b"]"))
        return Mutation(content[:start] + inserted + content[start:], f"insert {inserted!r} at {start}")
    if kind == "zero":
        return Mutation(content[:start] + bytes(stop - start) + content[stop:], f"zero {where}")
    if kind == "encode":
        encoding = random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-le"))
        return Mutation(content.decode("latin-1").encode(encoding), f"encode as {encoding}")
    return Mutation(random.choice((b"", b" ", b"\0", b"null", b"[]", b"{}", b"0", b'"x"')), "replace everything")


def of_values(tree: Any, random: Random) -> tuple[Any, str]:
    """Change one value of nested lists and dictionaries.

    Every level of the tree is as likely as the others, so that long lists do not crowd it out.
    """
    tree = copy.deepcopy(tree)
    if not isinstance(tree, dict | list) or not tree or random.random() < 0.01:
        value = random.choice(VALUES)
        return value, f"everything = {value!r}"
    parent, key = tree, _pick(tree, random)
    path = f"{key}"
    while isinstance(parent[key], dict | list) and parent[key] and random.random() < 0.8:
        parent = parent[key]
        key = _pick(parent, random)
        path += f".{key}"
    kind = random.choice(("value", "value", "value", "value", "type", "delete", "double", "rename", "swap", "scale"))
    value = parent[key]
    if kind == "delete":
        del parent[key]
        return tree, f"delete {path}"
    if kind == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(value))
        return tree, f"double {path}"
    if kind == "rename" and isinstance(parent, dict):
        name = f"{key}{random.choice(('_', ' ', 'é', ''))}".upper()
        parent[name] = parent.pop(key)
        return tree, f"rename {path} to {name!r}"
    if kind == "swap" and len(parent) > 1:
        other = _pick(parent, random)
        parent[key], parent[other] = parent[other], parent[key]
        return tree, f"swap {path} and {other}"
    if kind == "scale" and isinstance(value, int | float):
        parent[key] = value * random.choice((-1, 0.5, 1000, 1e-9))
    elif kind == "type":
        parent[key] = _as_other_type(value, random)
    else:
        parent[key] = random.choice(VALUES)
    return tree, f"{path} = {parent[key]!r:.80}"


def _pick(node: Any, random: Random) -> Any:
    """A key of a dictionary, or an index of a list."""
    return random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))


def _as_other_type(value: Any, random: Random) -> Any:
    """The value as a text, a number, a list, or a dictionary."""
    if isinstance(value, str) and random.random() < 0.3:
        return [value]
    if isinstance(value, bool | int) and random.random() < 0.7:
        return random.choice((str(value), float(value), bool(value)))
    if isinstance(value, float) and math.isfinite(value) and random.random() < 0.7:
        return random.choice((str(value), round(value)))
    return random.choice((str(value), [value], {"value": value}, list(value) if isinstance(value, dict) else None))


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where two trees differ, and how: ``annotations.*.bbox.*`` and ``value``, ``int to str``, ``missing`` or ``new``.

    Indices of lists are stars. ``int to str`` is 1 and "1"; 1 and "2" are ``int to str, other``.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            inside = f"{path}.{key}".lstrip(".")
            if key not in after:
                yield inside, "missing"
            elif key not in before:
                yield inside, "new"
            else:
                yield from differences(before[key], after[key], inside)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}.*".lstrip("."), "missing" if len(after) < len(before) else "new"
            return
        for one, other in zip(before, after, strict=True):
            yield from differences(one, other, f"{path}.*".lstrip("."))
    elif type(before) is not type(after):
        other = ", other" if _is_other_number(before, after) else ""
        yield path, f"{type(before).__name__} to {type(after).__name__}{other}"
    elif before != after:
        yield path, "value" if _is_ordinary(after) else "extreme"


def _is_other_number(before: Any, after: Any) -> bool:
    """Whether values of different types are numbers, or texts of numbers, and not the same one."""
    try:
        return float(before) != float(after)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_ordinary(value: Any) -> bool:
    return not isinstance(value, int | float) or -1e9 < value < 1e9  # not NaN either
