"""What a bake-off compares: losses, class weights, samplers, classifiers and post-hoc adjustment."""

from lt_det.bakeoff.candidates.builtin import applicable, full, quick
from lt_det.bakeoff.candidates.candidate import Candidate
from lt_det.bakeoff.candidates.reading import read_candidates
from lt_det.bakeoff.candidates.sampling import register_roi_sampler

__all__ = ["Candidate", "applicable", "full", "quick", "read_candidates", "register_roi_sampler"]
