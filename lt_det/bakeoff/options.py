"""The options of a bake-off, besides the detector's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lt_det.errors import LtDetError

LISTS = ("quick", "full")  # the built-in lists of candidates
FEATURES = "features"  # folder of the feature cache, in that of the results
CHOOSE_ON = ("folds", "evaluation")
# The options of `lt-det bakeoff`, which messages name; a call in Python uses the same words with underscores.
_LEAST: Mapping[str, int] = {
    "num_processes": 1,
    "max_rois": 1,
    "max_training_images": 1,
    "seeds": 1,
    "folds": 2,
    "steps": 1,
    "batch_size": 1,
    "passes": 1,
}


@dataclass(frozen=True)
class BakeoffOptions:
    """The options of a bake-off. The number of bootstrap draws is the config's TEST.RESAMPLES; on the folds
    there are at most 300.

    Attributes:
        candidates: "quick" (about ten), "full", or the path of a yaml file.
        seeds: number of trainings of each candidate on all training images; seeds are 0, 1, ...
        folds: number of parts of the training images; each is held out once, for the choice.
        steps: budget of every training.
        batch_size: RoIs per step.
        passes: augmented passes over the training images when features are computed.
        dtype, max_rois, max_training_images: of the features, see `FeatureOptions`.
        num_processes: that compute features and train candidates.
        choose_on: "folds", held-out parts of the training images, or "evaluation", the evaluation set, for a detector
            that has memorized its training images.
        write: name of the candidate to write as a checkpoint; None for the recommended one.
        output: folder of the results; None for the folder ``bakeoff`` in OUTPUT_DIR.

    Raises:
        LtDetError: a number is too small, a value is unknown, or a file of candidates does not exist.
    """

    candidates: str = "quick"
    seeds: int = 3
    folds: int = 3
    steps: int = 3000
    batch_size: int = 512
    passes: int = 1
    dtype: str = "float16"
    max_rois: int = 5_000_000
    max_training_images: int = 5_000
    num_processes: int = 1
    choose_on: str = "folds"
    write: str | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise LtDetError(f"{option(name)} is {value}; write a whole number from {least} on.")
        if self.candidates not in LISTS and not Path(self.candidates).is_file():
            raise LtDetError(
                f"{option('candidates')} is {self.candidates}, which is neither {' nor '.join(LISTS)} nor a yaml file "
                "that exists; correct it."
            )
        if self.choose_on not in CHOOSE_ON:
            raise LtDetError(f"{option('choose_on')} is {self.choose_on}; write {' or '.join(CHOOSE_ON)}.")
        if self.write is not None and not self.write.strip():
            raise LtDetError(f"{option('write')} is empty; name a candidate, or leave it out for the recommended one.")
        if self.output is not None and self.output.exists() and not self.output.is_dir():
            raise LtDetError(f"{option('output')} {self.output} is a file; name a folder.")

    def folder(self, output_dir: str) -> Path:
        """The folder of the results, for a config with this OUTPUT_DIR."""
        return self.output or Path(output_dir, "bakeoff")


def option(name: str) -> str:
    """The name of an option on the command line."""
    return f"--{name.replace('_', '-')}"
