"""Find the folder that the images of an annotation file are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.io.annotations.nearby_files import NearbyFiles

_LOOKED_FOR = 20  # images per candidate folder, spread over the set
_USUAL = ("images", "image", "imgs", "img", "JPEGImages", "data", "train", "val", "valid", "test", "photos")


@dataclass(frozen=True)
class ImageFolder:
    """
    Attributes:
        path: the folder, absolute.
        missing: names of images that are not in it.
        guessed: whether it was found, and not given.
    """

    path: Path
    missing: list[str]
    guessed: bool


def find_image_folder(
    json_file: Path, files: Sequence[str], given: Path | None, option: str, first: ImageFolder | None = None
) -> ImageFolder:
    """The folder that a user gives, or the likely one, and which images are missing there.

    Args:
        json_file: the annotation file, near which folders are tried.
        files: names of the images, relative to their folder.
        given: by the user; None: look for it.
        option: by which it is given, for messages: --images.
        first: folder of other images, which is taken if all of these are there, too.

    Returns:
        The folder; without any image in a likely one, ``images`` beside the json, with all images missing.

    Raises:
        LtDetError: the given folder does not exist, or has none of the images.
    """
    if given is None:
        if first is not None and not _missing(first.path, files):
            return ImageFolder(first.path, [], first.guessed)
        folder = likely_folder(json_file, files)
        if folder is None:
            return ImageFolder(json_file.absolute().parent / "images", list(files), guessed=False)
        return ImageFolder(folder.absolute(), _missing(folder, files), guessed=True)
    if not given.is_dir():
        raise LtDetError(f"{option} {given} is not a folder; give the folder of the images of {json_file}.")
    missing = _missing(given, files)
    if len(missing) == len(files):
        likely = likely_folder(json_file, files) or likely_folder(given / "json", files)
        advice = "give the folder that the file names are relative to"
        if likely:
            advice = f"{option} {likely} has them"
        elif nearby := NearbyFiles(given).find(files[0]):
            advice = f"{nearby[0]} exists: {nearby[1]}"
        raise LtDetError(
            f"{option} {given} has none of the {len(files)} images of {json_file}, such as {files[0]}; {advice}."
        )
    return ImageFolder(given.absolute(), missing, guessed=False)


def likely_folder(json_file: Path, files: Sequence[str]) -> Path | None:
    """The folder near an annotation file that has most of a sample of its images; None if none has any."""
    sample = files[:: max(1, len(files) // _LOOKED_FOR)][:_LOOKED_FOR]
    best: tuple[int, Path | None] = (0, None)
    for folder in _candidates(json_file):
        there = len(sample) - len(_missing(folder, sample))
        if there == len(sample):
            return folder
        if there > best[0]:
            best = (there, folder)
    return best[1]


def _candidates(json_file: Path) -> Iterator[Path]:
    """Folders beside the json and beside its folder, the usual names first."""
    beside = json_file.parent
    words = json_file.stem.replace("-", "_").split("_")
    named = dict.fromkeys([json_file.stem, *_USUAL[:6], *words, *_USUAL[6:]])
    tried: set[Path] = set()
    for parent in (beside, beside / "images", beside.parent, beside.parent / "images"):
        for folder in (parent, *(parent / name for name in named), *_folders_in(parent)):
            if folder not in tried and folder.is_dir():
                tried.add(folder)
                yield folder


def _folders_in(parent: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in parent.iterdir() if not path.name.startswith("."))[:50]
    except OSError:
        return []


def _missing(folder: Path, files: Iterable[str]) -> list[str]:
    return [name for name in files if not (folder / name).is_file()]
