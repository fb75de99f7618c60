"""A json file in pieces is the same as in one; whatever is wrong with it is said in one sentence."""

import gzip
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import read_json
from lt_det.io.json import sections as json_sections
from lt_det.io.json.sections import JsonSections

TEXTS = st.text(alphabet=list('ab"\\{}[],: \n/é\U0001f600'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def read(file):
    with JsonSections(file, "file") as sections:
        data = sections.rest
        for name in sections.names:
            assert data[name] == []
            data[name] = [value for piece in sections.pieces(name) for value in piece]
    return data


@settings(max_examples=150, deadline=None)
@given(
    data=st.dictionaries(TEXTS, VALUES, max_size=5),
    chunk=st.integers(1, 40),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_the_same_as_in_one(tmp_path_factory, data, chunk, ascii_only, indent):
    file = tmp_path_factory.mktemp("json") / "a.json"
    file.write_text(json.dumps(data, ensure_ascii=ascii_only, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_sections, "_CHUNK", chunk)
        found = read(file)
    assert found == data
    assert list(found) == list(data)


@settings(max_examples=150, deadline=None)
@given(chunk=st.integers(1, 30), place=st.integers(0, 60), byte=st.sampled_from(b'{}[],:"\\x1 '))
def test_a_changed_byte_is_read_as_json_reads_it(tmp_path_factory, chunk, place, byte):
    text = bytearray(b'{"a": [{"b": [1, "x\\\\"]}, {}, 3], "c": {"d": []}, "e": []}\n  ')
    text[place] = byte
    file = tmp_path_factory.mktemp("json") / "a.json"
    file.write_bytes(text)
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_sections, "_CHUNK", chunk)
        if expected is None:
            with pytest.raises(LtDetError, match="is not valid json"):
                read(file)
        else:
            try:
                assert read(file) == expected
            except LtDetError as error:
                assert "occurs twice" in str(error)  # noqa: PT017 - json takes the last one silently


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_encodings(tmp_path, encoding):
    file = tmp_path / "a.json"
    file.write_bytes('{"é": [1, {"ü": "ß"}]}'.encode(encoding))
    assert read(file) == read_json(file, "file") == {"é": [1, {"ü": "ß"}]}


DEEP = 10 * sys.getrecursionlimit()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b'{"a": [1, 2', "is not valid json"),
        (b'{"a": [1, {"b": "x', "is not valid json"),
        (b'{"a": [1], "a": [2]}', "'a' occurs twice"),
        (b'{"a": [1,]}', "is not valid json"),
        (b'{"a": [{},]}', "is not valid json"),
        (b'{"a": [{} {}]}', "is not valid json"),
        (b'{"a": [1]} {}', "is not valid json"),
        (b'{"a": [1}', "is not valid json"),
        (b'{"a": "\xff"}', "byte 7 is not utf-8"),
        (b'{"a": [{"b": "\xff"}]}', "byte 14 is not utf-8"),
        (b'{"a": [{"b": "cup \\ud800"}]}', r"surrogate pair, near .*cup .+ud800"),
        (b'{"\\udc00": 1}', "surrogate pair"),
        (b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * DEEP, "nested too deeply|is not valid json"),
        (b'{"a": [1' + b"0" * 5000 + b"]}", "is not valid json .*digits"),
        (gzip.compress(b'{"a": [1]}', mtime=0), "is compressed .gzip.; decompress"),
        ('{"a": "é"}'.encode("utf-16")[:-1], "is not valid json"),
        (b'{"a": 1} {"a": 2}\n', "is not valid json"),
        (b"PK\x03\x04\0\0\0\0", "is compressed .zip.; decompress .*torch.save"),
        (b"{'a': [1]}", "single quotes; write it with json.dump"),
        (b"[{'a': [1]}]", "single quotes; write it with json.dump"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a PNG image, and no json"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG image, and no json"),
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page; download the file itself"),
        (b'<?xml version="1.0"?><annotation/>', "is XML, and no json"),
    ],
)
def test_mistakes(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    for reader in (read, lambda file: read_json(file, "file")):
        if "occurs twice" in message and reader is not read:
            continue
        with pytest.raises(LtDetError, match=message) as caught:
            reader(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_one_json_value_a_line(tmp_path):
    file = tmp_path / "lines.json"
    file.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(LtDetError, match=r"lines.json is not valid json, but json lines; write one list"):
        read_json(file, "file")
    for text in ('{"a": 1} {"a": 2}\n', '{"a":\n1}\n{"a": 2}\n'):
        file.write_text(text)
        with pytest.raises(LtDetError, match=r"more than one value: the second begins at byte \d+, .* such as a list"):
            read_json(file, "file")


def test_files_that_cannot_be_opened(tmp_path):
    for file, message in ((tmp_path / "a", "does not exist"), (tmp_path, "cannot be read"), ("a\0b", "cannot be read")):
        with pytest.raises(LtDetError, match=message):
            JsonSections(file, "file")
        with pytest.raises(LtDetError, match=message):
            read_json(file, "file")


def test_another_value(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(" [1, 2]")
    assert JsonSections(file, "file").rest == [1, 2]


def test_an_escaped_backslash_begins_no_surrogate(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"a": [{"b": "\\\\ud800"}], "c": [NaN, "\\ud83d\\ude00"]}')
    assert read(file)["a"] == [{"b": "\\ud800"}]
    assert read(file)["c"][1] == "\U0001f600"
