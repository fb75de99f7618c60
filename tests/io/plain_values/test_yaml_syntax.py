"""Files that are no yaml: the line, and what to write there."""

import pytest

from lt_det.errors import LtDetError
from lt_det.io.plain_values.yaml_files import read_yaml


@pytest.mark.parametrize(
    ("content", "line", "advice"),
    [
        ("A:\n\tB: 1\n", "line 2", "tab"),
        ("A:\n  B: 1\n  C:\t1\n\tD: 2\n", "line 3", "tab"),
        ("A: 1\nB:3\n", "line 2", "KEY: value"),
        ("A: 1\nB: c: d\n", "line 2", "quote"),
        ("A:\n  B: 1\n   C: 2\n", "line 3", "indent"),
        ("A: 1\nB: 'c\n", "line 2", "quotes"),
        ("A: 1\nB: [1, 2\n", "line 2", "bracket"),
        ("A: {B: 1\nC: 2\n", "line 1", "bracket"),
        ("A: 1\nB: @c\n", "line 2", "'@'"),
        ("A: 1\n---\nB: 2\n", "line 2", "'---'"),
        ("A: *b\n", "line 1", "'b'"),
        ('A: 1\nB: "C:\\data\\a.json"\n', "line 2", "single quotes"),
        ('A: "C:\\users\\a.json"\n', "line 1", "single quotes"),
        ("A: !!int b\n", "'b'", "tag"),
        ("A: \0\n", "position 3", "not allowed"),
    ],
)
def test_refused(tmp_path, content, line, advice):
    file = tmp_path / "a.yaml"
    file.write_bytes(content.encode())
    with pytest.raises(LtDetError, match="is not valid yaml: ") as error:
        read_yaml(file, "config")
    message = str(error.value)
    assert message.startswith(str(file))
    assert line in message
    assert advice in message
    assert "token" not in message
    assert "unicode string" not in message
