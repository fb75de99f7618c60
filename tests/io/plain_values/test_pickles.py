"""The reader of pickles: arrays and plain values of every protocol are read, everything else is refused."""

import io
import os
import pickle
import pickletools
from collections import OrderedDict

import numpy as np
import pytest

from lt_det.io.plain_values.pickles import ForbiddenNameError, PlainUnpickler

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def loaded(content: bytes):
    return PlainUnpickler(io.BytesIO(content)).load()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("core", ["core", "_core"])
def test_arrays_and_plain_values(protocol, core):
    """Under the names of modules before NumPy 2 and since."""
    plain = {
        "text": "ä",
        "list": [1, -2, 2**70, 3.5, None, True],
        "tuple": ((), (1,), (1, 2), (1, 2, 3, 4)),
        "b": b"\0\xff",
    }
    arrays = {
        "big endian": np.arange(6, dtype=">f4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "no axis": np.array(3, dtype=np.int16),
        "empty": np.zeros((0, 3), dtype=np.uint8),
        "bool": np.array([True, False]),
        "scalar": np.float64(0.25),
        "half": np.float16(2),
        "complex": np.array([1 + 2j]),
    }
    content = pickle.dumps(OrderedDict(plain=plain, arrays=arrays, dtype=np.dtype("i4")), protocol)
    if protocol < 4:  # later protocols write the length before a name
        content = content.replace(b"numpy._core.", f"numpy.{core}.".encode()).replace(
            b"numpy.core.", f"numpy.{core}.".encode()
        )
    found = loaded(content)
    assert found["plain"] == plain
    assert found["dtype"] == np.dtype("i4")
    assert list(found["arrays"]) == list(arrays)
    for name, array in arrays.items():
        assert found["arrays"][name].dtype.str[1:] == array.dtype.str[1:], name
        np.testing.assert_array_equal(found["arrays"][name], array)


def test_a_pickle_of_python_2():
    """As in Detectron2's model zoo: the bytes of an array and the names of weights are strings of Python 2."""
    content = (
        b"\x80\x02}q\x01U\x05conv1q\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08\x00\x00\x80?\x00\x00\xe0\xc0tbs."
    )
    (name, array), *rest = loaded(content).items()
    assert (name, array.tolist(), array.dtype, rest) == ("conv1", [1, -7], np.float32, [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.array([1, None], dtype=object), "numpy.dtype('O8')"),
        (np.array(["text"]), "numpy.dtype('U4')"),
        (np.zeros(2, dtype=[("a", "i4")]), "numpy.dtype('V4')"),
        (np.ma.array([1]), "numpy.ma"),
        (os.system, "posix.system"),
        (np.testing.assert_equal, "numpy.testing"),
        (OSError("x"), "OSError"),
    ],
)
def test_everything_else_is_refused_by_name(value, name, protocol):
    with pytest.raises(ForbiddenNameError) as error:
        loaded(pickle.dumps(value, protocol))
    assert name in error.value.name


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n(K\x05tR.",  # calls the class of arrays
        b"(cnumpy\nndarray\nK\x05o.",  # makes an object of a class
        b"cnumpy\nndarray\n)\x81.",
        b"ccollections\nOrderedDict\n}U\x01aK\x01sb.",  # sets an attribute of a class
        b"cnumpy.core.multiarray\n_reconstruct\n(N}U\x0c__defaults__K\x01stb.",  # and of a function
        b"cnumpy\ndtype\n(U\x02f4tR(K\x03U\x01<N(U\x01atNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",  # adds fields
    ],
)
def test_ways_around(content):
    with pytest.raises((pickle.UnpicklingError, KeyError)):
        loaded(content)


def test_an_array_of_another_length_than_it_says():
    content = pickle.dumps(np.arange(100, dtype=np.uint8), 2).replace(b"Kd\x85", b"Kc\x85")
    pickletools.dis(content, out=io.StringIO())  # it still is a pickle
    with pytest.raises(pickle.UnpicklingError, match="100 bytes"):
        loaded(content)
