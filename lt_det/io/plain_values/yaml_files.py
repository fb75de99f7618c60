"""Read yaml files as plain values: no tag of a file runs anything, and nothing in it is silently left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import FullConstructor, SafeConstructor

from lt_det.errors import LtDetError
from lt_det.io.plain_values.arithmetic import value_of
from lt_det.io.plain_values.yaml_syntax import BACKSLASH, syntax_problem

_PREFIX = "tag:yaml.org,2002:"
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\x00-\x1f]")  # whose backslash became a control character, as in "C:\new"
_MOST_VALUES = 200_000  # once all aliases are written out; configs have a few hundred

UNSAFE_OPTION = "--allow-unsafe-config"
UNSAFE_HELP = "execute code in the tags of the yaml config; use it only for files that you trust like a program"


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader; it also knows Python's plain types, which `yaml.dump` writes."""


class _UnsafeLoader(yaml.UnsafeLoader):  # type: ignore[misc]
    """Runs what tags of a file say, for files that a user trusts."""


for _tag, _construct in {
    "none": SafeConstructor.construct_yaml_null,
    "bool": SafeConstructor.construct_yaml_bool,
    "str": FullConstructor.construct_python_str,
    "unicode": FullConstructor.construct_python_unicode,
    "int": SafeConstructor.construct_yaml_int,
    "long": FullConstructor.construct_python_long,
    "float": SafeConstructor.construct_yaml_float,
    "list": SafeConstructor.construct_yaml_seq,
    "tuple": FullConstructor.construct_python_tuple,
    "dict": SafeConstructor.construct_yaml_map,
}.items():
    _PlainLoader.add_constructor(f"{_PREFIX}python/{_tag}", _construct)


def read_yaml(file: Path, what: str, run_code: list[str] | None = None, example: str = "KEY: value") -> dict[str, Any]:
    """The keys of a yaml file and their values.

    Args:
        file: named in messages.
        what: it should be: "config".
        run_code: for a file that the user trusts: its tags may run code; which ones do is added to this list.
        example: of its content, for messages.

    Raises:
        LtDetError: the file cannot be read, is no yaml in UTF-8, is empty or no mapping, has a key twice or one that is
            no text, a number that yaml reads as another one, is nested too deeply, or has a tag that would run code.
    """
    loader: Any = None
    try:
        loader = (_PlainLoader if run_code is None else _UnsafeLoader)(_text(file, what))
        node = loader.get_single_node()
        if node is None:
            raise LtDetError(f"The {what} {file} is empty; write {example} into it.")
        if not isinstance(node, yaml.MappingNode):
            raise LtDetError(f"The {what} {file} has no keys and values; write {example}.")
        size, code = _checked(node, "", file, run_code is not None, {})
        if size > _MOST_VALUES:
            raise LtDetError(f"The {what} {file} has {size} values with its aliases written out; shorten it.")
        if run_code is not None:
            run_code.extend(code)
        content: dict[str, Any] = loader.construct_document(node)
    except (RecursionError, MemoryError) as error:
        raise LtDetError(f"The {what} {file} is nested too deeply; correct its brackets.") from error
    except yaml.YAMLError as error:
        raise LtDetError(f"{file} is not valid yaml: {syntax_problem(error)}.") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # a tag whose value does not go with it
        reason = " ".join(str(error).split())
        raise LtDetError(
            f"{file} is not valid yaml: a value does not fit the tag before it ({reason}); omit the tag."
        ) from error
    finally:
        if loader is not None:
            loader.dispose()
    return content


def _text(file: Path, what: str) -> str:
    if file.exists() and not file.is_file():
        kind = "a folder" if file.is_dir() else "no regular file"
        raise LtDetError(f"The {what} {file} is {kind}; give a yaml file.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LtDetError(f"The {what} {file} cannot be read ({error.strerror}); correct the path.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        encoding = "is in UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "is not in UTF-8"
        raise LtDetError(f"The {what} {file} {encoding}; save it as UTF-8 text.") from error


def _checked(
    node: yaml.Node, key: str, file: Path, unsafe: bool, sizes: dict[int, int | None]
) -> tuple[int, list[str]]:
    """Check a node and all below it.

    Args:
        node: with the position in the file.
        key: of the node, with the keys above it.
        file: for messages.
        unsafe: allow tags that run code.
        sizes: what is found for nodes, to which aliases may refer again; None while a node is being looked at.

    Returns:
        Number of values with aliases written out, and the keys whose values run code.
    """
    if id(node) in sizes:
        known = sizes[id(node)]
        if known is None:
            raise LtDetError(f"{file}, line {_line(node)}: {key} contains itself; write its values out.")
        return known, []
    sizes[id(node)] = None
    code = []
    if node.tag not in _PlainLoader.yaml_constructors and node.tag != f"{_PREFIX}merge":
        if not unsafe:
            raise LtDetError(_refused(node, key, file))
        code.append(f"{key or 'the file'} (line {_line(node)})")
    if isinstance(node, yaml.ScalarNode) and not node.value.isascii():
        try:
            node.value.encode()
        except UnicodeEncodeError as error:  # from an escape such as "\ud800"
            raise LtDetError(f"{file}, line {_line(node)}: {key} has half of a surrogate pair; correct it.") from error
    if isinstance(node, yaml.ScalarNode) and _WINDOWS_PATH.match(node.value):
        raise LtDetError(f"{file}, line {_line(node)}: {key} is a path, in which {BACKSLASH}.")
    if isinstance(node, yaml.ScalarNode) and node.tag in (f"{_PREFIX}int", f"{_PREFIX}float"):
        _check_number(node, key, file)
    size = 1
    for below, path in _below(node, key, file):
        below_size, below_code = _checked(below, path, file, unsafe, sizes)
        size, code = size + below_size, code + below_code
    sizes[id(node)] = size
    return size, code


def _check_number(node: yaml.ScalarNode, key: str, file: Path) -> None:
    """Refuse what yaml does not read as the decimal number that it looks like: 010 is octal, 1:30 has base 60."""
    digits = node.value.lower().lstrip("+-").replace("_", "")
    if digits.startswith(("0x", "0b", ".")):
        return
    constructor = SafeConstructor()
    is_int = node.tag.endswith("int")
    value = constructor.construct_yaml_int(node) if is_int else constructor.construct_yaml_float(node)
    if ":" in digits or float(digits) != abs(value):
        raise LtDetError(
            f"{file}, line {_line(node)}: yaml reads {key} {node.value} as {value}; write a decimal number without "
            "leading zeros, or put it in quotes if it is text."
        )


def _below(node: yaml.Node, key: str, file: Path) -> Iterator[tuple[yaml.Node, str]]:
    """The nodes below a node, with their keys."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((item, f"{key}[{index}]") for index, item in enumerate(node.value))
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for name, value in node.value:
        if name.tag == f"{_PREFIX}merge":
            yield value, key
            continue
        if name.tag != f"{_PREFIX}str":
            shown = name.value if isinstance(name, yaml.ScalarNode) else "a list or a mapping"
            raise LtDetError(
                f"{file}, line {_line(name)}: the key {shown!r:.80} is not a string; quote it, or correct the line."
            )
        path = f"{key}.{name.value}" if key else name.value
        if name.value in lines:
            raise LtDetError(
                f"{file}: {path} stands in line {lines[name.value]} and again in line {_line(name)}, so that the first "
                "would have no effect; write it once, with all that belongs to it."
            )
        lines[name.value] = _line(name)
        yield value, path


def _refused(node: yaml.Node, key: str, file: Path) -> str:
    tag = "!!" + node.tag.removeprefix(_PREFIX) if node.tag.startswith(_PREFIX) else node.tag
    if "!python/" not in tag:
        return f"{file}, line {_line(node)}: {key} has the tag {tag}, which is unknown; write the value without a tag."
    literal = None
    if tag.endswith(":eval") and isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
        literal = value_of(str(node.value[0].value))
    name = key.rpartition(".")[2]
    instead = "write its value itself, a number, a string or a list" if literal is None else f"write {name}: {literal}"
    return (
        f"{file}, line {_line(node)}: {key or 'the file'} has the tag {tag}, which runs code when the file is read; "
        f"{instead}, or, if you trust the file, add {UNSAFE_OPTION} (in Python: allow_unsafe=True)."
    )


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
