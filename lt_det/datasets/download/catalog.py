"""The archives of LVIS and COCO: addresses, sizes, checksums, and the files that Detectron2 reads from them.

Addresses are those of https://cocodataset.org/#download and https://www.lvisdataset.org/dataset, which publish no
checksums. Sizes and SHA-256 are those that TensorFlow Datasets records (https://github.com/tensorflow/datasets:
tensorflow_datasets/datasets/lvis/checksums.tsv and url_checksums/coco.txt), for LVIS under the address of the same S3
bucket. It has none of LVIS v0.5; the size of those archives is the server's Content-Length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lt_det.terminal import count_of

_IMAGE = re.compile(r"\d{12}\.jpg")
_COCO = "http://images.cocodataset.org"  # its certificate for https is for another name
_LVIS = "https://dl.fbaipublicfiles.com/LVIS"

VERSIONS = ("v1", "v0.5")  # of LVIS
ARCHIVES = "downloads"  # the folder of the archives, relative to DETECTRON2_DATASETS


@dataclass(frozen=True)
class Archive:
    """A zip file.

    Attributes:
        url: address.
        folder: the folder for its files, relative to DETECTRON2_DATASETS, with slashes.
        files: names of the files that belong there; empty if the archive holds images.
        images: number of images; 0 if the archive holds `files`.
        size: bytes; None if not published.
        sha256: in hexadecimal digits; None if not published.
    """

    url: str
    folder: str
    files: tuple[str, ...] = ()
    images: int = 0
    size: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def contents(self) -> str:
        """``118287 images``, or the names of the files."""
        return ", ".join(self.files) if self.files else count_of(self.images, "image")

    def file(self, root: Path) -> Path:
        """Where the archive is kept until it is unpacked.

        Args:
            root: the folder that DETECTRON2_DATASETS names.
        """
        return root / ARCHIVES / self.name

    def file_name(self, member: str) -> str | None:
        """The name inside `folder` for a member of the zip; None for members that Detectron2 does not need.

        Only plain names are returned, so that no member can be written outside the folder.
        """
        path = PurePosixPath(member)
        if self.files:
            return path.name if path.name in self.files and "__MACOSX" not in path.parts else None
        in_folder = path.parent.name == PurePosixPath(self.folder).name
        return path.name if in_folder and is_image(path.name) else None


def is_image(name: str) -> bool:
    """Whether a name is one of COCO's images: twelve digits."""
    return _IMAGE.fullmatch(name) is not None


_VAL_IMAGES = Archive(
    f"{_COCO}/zips/val2017.zip",
    "coco/val2017",
    images=5_000,
    size=815_585_330,
    sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
)
_TRAIN_IMAGES = Archive(
    f"{_COCO}/zips/train2017.zip",
    "coco/train2017",
    images=118_287,
    size=19_336_861_798,
    sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
)
_TEST_IMAGES = Archive(
    f"{_COCO}/zips/test2017.zip",
    "coco/test2017",
    images=40_670,
    size=6_646_970_404,
    sha256="c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",
)
_COCO_TRAINVAL = Archive(
    f"{_COCO}/annotations/annotations_trainval2017.zip",
    "coco/annotations",
    files=tuple(f"{kind}_{split}2017.json" for kind in ("instances", "person_keypoints") for split in ("train", "val")),
    size=252_907_541,
    sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
)
_COCO_TEST = Archive(
    f"{_COCO}/annotations/image_info_test2017.zip",
    "coco/annotations",
    files=("image_info_test2017.json", "image_info_test-dev2017.json"),
    size=1_144_034,
    sha256="e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",
)


def _lvis(name: str, size: int | None = None, sha256: str | None = None) -> Archive:
    return Archive(f"{_LVIS}/{name}.zip", "lvis", (name,), size=size, sha256=sha256)


_LVIS_TRAINVAL = {
    "v1": (
        _lvis("lvis_v1_val.json", 64_026_968, "5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5"),
        _lvis("lvis_v1_train.json", 350_264_821, "334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba"),
    ),
    "v0.5": (_lvis("lvis_v0.5_val.json"), _lvis("lvis_v0.5_train.json")),
}
_LVIS_TEST = {
    "v1": _lvis(
        "lvis_v1_image_info_test_dev.json",
        384_629,
        "bbe4880cef768f3c14ea903d31dcce9db24916cf9e9f1f76d1a022120f47254b",
    ),
    "v0.5": _lvis("lvis_v0.5_image_info_test.json"),
}


def lvis_archives(version: str = "v1", test: bool = False) -> tuple[Archive, ...]:
    """The archives that training and evaluation on LVIS need, the small ones first.

    All images are COCO's. The validation set of v1 has images of COCO's train2017 and val2017; an annotation file names
    the folder of each image in its ``coco_url``.

    Args:
        version: one of `VERSIONS`.
        test: whether to add the test images and their list (v1: test-dev), which have no annotations.
    """
    info, images = ((_LVIS_TEST[version],), (_TEST_IMAGES,)) if test else ((), ())
    return *info, *_LVIS_TRAINVAL[version], _VAL_IMAGES, *images, _TRAIN_IMAGES


def coco_archives(test: bool = False) -> tuple[Archive, ...]:
    """The archives that training and evaluation on COCO 2017 need, the small ones first.

    Args:
        test: whether to add the test images and their list, which have no annotations.
    """
    info, images = ((_COCO_TEST,), (_TEST_IMAGES,)) if test else ((), ())
    return *info, _COCO_TRAINVAL, _VAL_IMAGES, *images, _TRAIN_IMAGES
