"""Mutations of checkpoints: of their tensors and other values, and of the archive that holds them."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch

from tests.fuzz.mutations import VALUES, Format, of_values

CREATED = "created_by_a_program"  # a file in the working directory, if a mutated file was executed


class Program:
    """An object whose pickle creates a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {CREATED}",)

    def __deepcopy__(self, memo: object) -> Program:
        return self  # a copy would run it


class Other:
    """A class that no list of allowed ones has."""


def load(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=False)


def dump(checkpoint: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def mutate_checkpoint(tree: Any, random: Random) -> tuple[Any, str]:
    """Change one weight in half of the cases, otherwise any value; see `CHECKPOINT`."""
    tree = copy.deepcopy(tree)
    if random.random() < 0.3:
        return of_values(tree, random)
    parent = tree["model"] if random.random() < 0.6 or "trainer" not in tree else _buffers(tree)
    key = random.choice(list(parent))
    name, change = random.choice(_CHANGES)
    if name == "delete":
        del parent[key]
    elif name == "rename":
        parent[f"module.{key}"] = parent.pop(key)
    elif name == "add":
        parent[random.choice(("more", "roi_heads.more.weight", 3))] = torch.ones(2)
    else:
        parent[key] = change(parent[key], random)
    return tree, f"{name} {key}"


def _buffers(tree: Any) -> Any:
    """A dictionary of the optimizer's state."""
    states = tree["trainer"]["_trainer"]["optimizer"]["state"]
    return states[next(iter(states))] if states else tree["trainer"]


def _with_entry(value: float) -> Callable[[Any, Random], Any]:
    def change(tensor: Any, random: Random) -> Any:
        if not isinstance(tensor, torch.Tensor) or not tensor.numel():
            return value
        tensor = tensor.to(torch.float32).clone()
        tensor.view(-1)[random.randrange(tensor.numel())] = value
        return tensor

    return change


def _of_tensor(function: Callable[[torch.Tensor], Any]) -> Callable[[Any, Random], Any]:
    return lambda tensor, random: function(tensor) if isinstance(tensor, torch.Tensor) else [tensor]


_CHANGES: tuple[tuple[str, Callable[[Any, Random], Any]], ...] = (
    ("delete", lambda value, random: value),
    ("rename", lambda value, random: value),
    ("add", lambda value, random: value),
    ("put NaN into", _with_entry(math.nan)),
    ("put infinity into", _with_entry(math.inf)),
    ("complex", _of_tensor(lambda tensor: tensor.to(torch.complex64))),
    ("whole numbers in", _of_tensor(lambda tensor: tensor.to(torch.int64))),
    ("bool", _of_tensor(lambda tensor: tensor.to(torch.bool))),
    ("flatten", _of_tensor(lambda tensor: tensor.reshape(-1)[:-1])),
    ("transpose", _of_tensor(lambda tensor: tensor.T if tensor.dim() == 2 else tensor[None])),
    ("empty", _of_tensor(lambda tensor: tensor.reshape(-1)[:0])),
    ("sparse", _of_tensor(lambda tensor: tensor.to_sparse())),
    ("meta", _of_tensor(lambda tensor: tensor.to("meta"))),
    ("object array in", lambda value, random: np.array([Other()], dtype=object)),
    ("array of texts in", lambda value, random: np.array(["a", "b"])),
    ("program in", lambda value, random: Program()),
    ("class in", lambda value, random: Other()),
    ("value in", lambda value, random: random.choice(VALUES)),
)  # fmt: skip


def mutate_archive(content: bytes, random: Random) -> tuple[bytes, str]:
    """Change the members of the zip archive, or replace the pickle in it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    kind = random.choice(("drop", "rename", "swap", "compress", "double", "add", "pickle", "cut", "old format"))
    at = random.randrange(len(members))
    name, data = members[at]
    if kind == "old format":
        buffer = io.BytesIO()
        torch.save({**load(content), "program": Program()}, buffer, _use_new_zipfile_serialization=False)
        return buffer.getvalue(), "old format, with a program"
    if kind == "drop":
        del members[at]
    elif kind == "rename":
        members[at] = (random.choice(("../../x", "/x", "constants.pkl", name + "x", "")), data)
    elif kind == "swap":
        other = random.randrange(len(members))
        members[at], members[other] = (name, members[other][1]), (members[other][0], data)
    elif kind == "double":
        members.append(members[at])
    elif kind == "add":
        members.append((random.choice(("archive/code/x.py", "constants.pkl", "archive/.format_version")), b"1"))
    elif kind == "cut":
        members[at] = (name, data[: len(data) // 2])
    elif kind == "pickle":
        replaced = pickle.dumps(random.choice((Program(), Other(), [], {"model": Program()}, b"x")), 2)
        members = [(member, replaced if member.endswith("data.pkl") else kept) for member, kept in members]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if kind == "compress" else zipfile.ZIP_STORED) as archive:
        for member, kept in members:
            archive.writestr(zipfile.ZipInfo(member), kept)
    return buffer.getvalue(), f"{kind} {name}"


CHECKPOINT = Format(load, dump, mutate_checkpoint, mutate_archive)
