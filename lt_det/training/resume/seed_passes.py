"""A resumed training draws the same random numbers as an uninterrupted one."""

from __future__ import annotations

import logging
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from lt_det.training.resume.loaded_state import check_seed
from lt_det.training.resume.seeding import seed_generators, shared_seed

logger = logging.getLogger(__name__)


class SeedPasses(HookBase):
    """Seeds each forward pass in training by seed, process, iteration and pass: RoIs, anchors, classes, dropout.

    So no state of a generator has to be saved: a checkpoint would need it from every process, and evaluation and
    workers would change it in between. Checkpoints store the seed.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        """
        Args:
            model: as the trainer calls it.
            seed: SEED of the config; negative: a random one that the processes share.
        """
        self._model, self._configured, self._seed = model, seed, shared_seed(seed)
        self._passes = 0

    def before_train(self) -> None:
        self._handle = self._model.register_forward_pre_hook(self._before_pass)

    def before_step(self) -> None:
        self._passes = 0

    def after_train(self) -> None:
        self._handle.remove()

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seed = check_seed(state["seed"], "the passes")
        if 0 <= self._configured != self._seed:  # a negative one asks for a random seed, which the checkpoint has
            logger.warning(
                f"SEED {self._configured} (LazyConfig: train.seed) has no effect: --resume goes on with the random "
                f"numbers of the checkpoint, whose seed is {self._seed}; for another seed, start a training in another "
                "OUTPUT_DIR."
            )

    def _before_pass(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        if model.training:
            seed_generators(self._seed, comm.get_rank(), self.trainer.iter, self._passes)
            self._passes += 1
