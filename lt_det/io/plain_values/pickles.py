"""Read pickles that hold nothing but plain containers, numbers, texts and NumPy arrays of numbers.

A pickle is a program: it may name any function and call it. This reader knows a few functions by name, calls no
others, and checks their arguments; what else a file names is refused before anything of it runs.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

_NUMBER = re.compile(r"[biufc]\d{1,2}|\?")  # codes of dtypes: no objects, records, texts or dates
_ENCODINGS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")

# Opcodes that plain values do not need: they make an object of any class, or refer to things outside the file.
_LEFT_OUT = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER")

_PythonUnpickler: Any = pickle._Unpickler  # private, in Python 3.10 to 3.14


class ForbiddenNameError(pickle.UnpicklingError):
    """A pickle names a class or function that is not on the list.

    Attributes:
        name: with its module.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"it holds {name}")
        self.name = name


def plain_dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    """The dtype of a kind of number, such as "f4"; a copy, so that the byte order can be set.

    Raises:
        ForbiddenNameError: objects, records, texts, dates, or no code at all.
    """
    text = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ForbiddenNameError(f"numpy.dtype({text!r:.40})")
    return np.dtype(text, align=False, copy=True)


def _empty_array(subtype: Any, shape: Any, code: Any) -> NDArray[Any]:
    """The empty array that a pickled array begins as; shape, dtype and values follow in its state."""
    if subtype is not np.ndarray:
        raise ForbiddenNameError(f"a NumPy array of the class {subtype!r:.60}")
    return np.empty((0,), dtype=np.int8)


def _scalar(dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("a NumPy scalar has no dtype")
    return _array_of(content, dtype, ()).copy()[()]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """As in pickles of protocol 5."""
    if not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("a NumPy array has no dtype")
    return _array_of(content, dtype, shape, order).copy(order)


def _array_of(content: Any, dtype: np.dtype[Any], shape: Any, order: Any = "C") -> NDArray[Any]:
    """An array over bytes, once their number is that of the shape."""
    content = content.encode("latin1") if isinstance(content, str) else content  # bytes of Python 2
    whole = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not (whole and isinstance(content, bytes | bytearray) and order in ("C", "F")):
        raise pickle.UnpicklingError("a NumPy array is malformed")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise pickle.UnpicklingError(f"a NumPy array of shape {shape} has {len(content)} bytes")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes, as Python 3 writes them into pickles of protocol 2."""
    if not isinstance(text, str) or encoding not in _ENCODINGS:
        raise pickle.UnpicklingError("bytes are malformed")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """Empty bytes, which Python 3 writes as a call into pickles of protocol 0 to 2."""
    return b""


def numpy_names() -> dict[str, Callable[..., Any]]:
    """What pickles of NumPy arrays, scalars and dtypes name, before and since NumPy 2, and what stands for it here."""
    core: dict[str, Callable[..., Any]] = {
        "multiarray._reconstruct": _empty_array,
        "multiarray.scalar": _scalar,
        "numeric._frombuffer": _from_buffer,
    }
    moved = {f"numpy.{module}.{name}": found for module in ("core", "_core") for name, found in core.items()}
    return {**moved, "numpy.ndarray": np.ndarray, "numpy.dtype": plain_dtype}


class PlainUnpickler(_PythonUnpickler):  # type: ignore[misc]
    """An unpickler of plain values and NumPy arrays, from any protocol and from Python 2.

    Built on Python's slower unpickler, because the fast one sets any attribute of the objects that it has made.

    Attributes:
        names: further classes and functions, by name, that a file may call; see `numpy_names`.
    """

    names: ClassVar[Mapping[str, Any]] = {}
    dispatch: ClassVar[dict[int, Any]] = {
        code: read
        for code, read in _PythonUnpickler.dispatch.items()
        if code not in {getattr(pickle, name)[0] for name in _LEFT_OUT}
    }

    def __init__(self, file: IO[bytes], *, encoding: str = "latin1", **options: Any) -> None:
        super().__init__(file, encoding=encoding, **options)
        basic = {"collections.OrderedDict": OrderedDict, "_codecs.encode": _encode, "__builtin__.bytes": _no_bytes}
        self._known: dict[str, Any] = {**basic, **numpy_names(), **self.names}

    def find_class(self, module: str, name: str) -> Any:
        """
        Raises:
            ForbiddenNameError: the name is not on the list.
        """
        full = f"{module}.{name}"
        if full not in self._known:
            raise ForbiddenNameError(full)
        return self._known[full]

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if function is np.ndarray or not any(function is known for known in self._known.values()):
            raise pickle.UnpicklingError(f"it calls {type(function).__name__}")
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, np.dtype):
            _set_byte_order(made, state)
        elif type(made) is np.ndarray:
            self.stack[-1].__setstate__(_array_state(state))
        elif type(made) is OrderedDict and isinstance(state, dict):
            made.__dict__.update({key: value for key, value in state.items() if isinstance(key, str)})
        else:
            raise pickle.UnpicklingError(f"it sets the state of {type(made).__name__}")

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(length)))  # Python's would first fill memory of any length with zeros

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def _set_byte_order(dtype: Any, state: Any) -> None:
    order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
    if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise ForbiddenNameError("numpy.dtype with fields")
    dtype.__setstate__((3, order, None, None, None, -1, -1, 0))


def _array_state(state: Any) -> tuple[Any, ...]:
    _, shape, dtype, fortran, content = state
    if not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("a NumPy array has no dtype")
    order: Any = "F" if fortran else "C"
    array = _array_of(content, dtype, shape, order)
    return (1, array.shape, dtype, bool(fortran), array.tobytes(order))
