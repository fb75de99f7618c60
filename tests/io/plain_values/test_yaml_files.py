"""What yaml files may hold, and the sentence for everything else."""

import pytest

from lt_det.errors import LtDetError
from lt_det.io.plain_values.arithmetic import value_of
from lt_det.io.plain_values.yaml_files import read_yaml
from tests.helpers.hostile import hostile_config


def refusal(file, content=None, run_code=None) -> str:
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LtDetError) as error:
        read_yaml(file, "config", run_code)
    message = str(error.value)
    assert str(file) in message
    assert "\n" not in message
    return message


def test_plain_values_and_the_types_of_python(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "A: !!python/tuple [1, [2]]\nB: !!python/unicode x\nC: &c {D: 1}\nE: {<<: *c, F: 2}\n# Ende\n", "utf-8"
    )
    assert read_yaml(file, "config") == {"A": (1, [2]), "B": "x", "C": {"D": 1}, "E": {"D": 1, "F": 2}}
    file.write_bytes(b"\xef\xbb\xbfA: \xc3\xa4\n")  # Windows editors write this mark
    assert read_yaml(file, "config") == {"A": "ä"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n", "KEY: value"),
        ("a", "KEY: value"),
        ("A: 1\n".encode("utf-16"), "UTF-16"),
        (bytes(range(256)), "UTF-8"),
        (b"\0\0", "valid yaml"),
        ("A:\n\tB: 1\n", "line 2"),
        ("A: [1\nB: 2\n", "line 2"),
        ("A: 1\n---\nB: 2\n", "line 2"),
        ("A: " + "[" * 4000, "nested"),
        ("A: " + "{a: " * 3000, "nested"),
        ("A: 1\nB: 2\nA: 3\n", "A stands in line 1 and again in line 3"),
        ("A:\n  B: {C: 1,\n   C: 1}\n", "A.B.C stands in line 2 and again in line 3"),
        ("A: {1: 2}\n", "line 1: the key '1'"),
        ("A:\n  on: 2\n", "line 2: the key 'on'"),
        ("A: &a [*a]\n", "contains itself"),
        ("A: !!int x\n", "valid yaml"),
        ("A: !mine x\n", "A has the tag !mine"),
        ("A: [0, !!python/name:os.system ]\n", "line 1: A[1] has the tag !!python/name:os.system"),
        ("A: 1\nB: !!python/object/new:os.system [x]\n", "line 2: B has the tag !!python/object/new:os.system"),
        ('A: "\\ud800"\n', "A has half of a surrogate pair"),
    ],
)
def test_refused(tmp_path, content, complaint):
    assert complaint in refusal(tmp_path / "a.yaml", content)


def test_a_path_of_windows_in_double_quotes(tmp_path):
    assert "line 1: A is a path, in which a backslash" in refusal(tmp_path / "a.yaml", 'A: "C:\\new\\train.json"\n')
    (tmp_path / "a.yaml").write_text('A: \'C:\\new\\train.json\'\nB: "C:/new"\nC: "ab:\\tb"\n')
    assert read_yaml(tmp_path / "a.yaml", "config") == {"A": "C:\\new\\train.json", "B": "C:/new", "C": "ab:\tb"}


@pytest.mark.parametrize(
    ("number", "reading"), [("010", "8"), ("-0_17", "-15"), ("1:30", "90"), ("1:30.5", "90.5"), ("[00, 0777]", "511")]
)
def test_numbers_that_yaml_reads_as_others(tmp_path, number, reading):
    assert f"as {reading};" in refusal(tmp_path / "a.yaml", f"A: {number}\n")


def test_numbers_that_look_like_what_they_are(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("A: [0, 007, -3, +1_000, 0.5, .5, 01.50, 1.0e-5, 0x1F, 0b11, .inf, '010', 'a:1']\n")
    values = [0, 7, -3, 1000, 0.5, 0.5, 1.5, 1e-5, 31, 3, float("inf"), "010", "a:1"]
    assert read_yaml(file, "config") == {"A": values}


def test_aliases_that_multiply(tmp_path):
    """Nine lines that stand for 10**9 values."""
    lines = ["A0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"A{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases" in refusal(tmp_path / "a.yaml", "\n".join(lines))


def test_what_is_no_file(tmp_path):
    assert "folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing.yaml")


def test_a_program_runs_only_where_that_is_allowed(tmp_path):
    created = tmp_path / "created"
    file = hostile_config(tmp_path / "a.yaml", created)
    message = refusal(file)
    assert "line 1: OUTPUT_DIR has the tag !!python/object/apply:os.system" in message
    assert "--allow-unsafe-config" in message
    assert not created.exists()
    ran: list[str] = []
    assert read_yaml(file, "config", ran) == {"OUTPUT_DIR": 0}
    assert ran == ["OUTPUT_DIR (line 1)"]
    assert created.exists()


def test_the_literal_to_write_instead(tmp_path):
    sizes = "[[x, x * 2**(1.0/2)] for x in [32, 64]]"  # as Detectron2's Base-RetinaNet.yaml
    message = refusal(tmp_path / "a.yaml", f'M:\n  SIZES: !!python/object/apply:eval ["{sizes}"]\n')
    assert "line 2: M.SIZES" in message
    assert f"write SIZES: {[[x, x * 2 ** (1.0 / 2)] for x in [32, 64]]}" in message


@pytest.mark.parametrize(
    "expression",
    ["open('x')", "[x for x in y]", "(1).real", "10**400", "1/0", "[" * 999, "x", "'a'*9", "[1]*9", "lambda: 1"],
)
def test_expressions_that_are_no_arithmetic(expression):
    assert value_of(expression) is None


def test_the_value_of_arithmetic():
    assert value_of(" -(7 // 2 + 7 % 4) * 1.5 ") == -9.0
    assert value_of("[[i * j for j in (1, 2)] for i in [3, 4]]") == [[3, 6], [4, 8]]
    assert value_of(f"[[{', '.join('x' * 200)}] for x in [{', '.join('1' * 200)}]]") is None  # too many steps
