"""Two-stage training: a classifier alone, on the network of a finished training.

Kang et al. 2020, https://arxiv.org/abs/1910.09217: classifier re-training (cRT, "crt") draws the classifier anew,
learnable weight scaling (LWS, "lws") keeps it and learns one scale per class. Everything else stays as it is, box
regression too, as in the EQLv2 authors' detectors (https://github.com/tztztztztz/eqlv2, configs/decouple).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lt_det.config import checked_second_stage
from lt_det.errors import LtDetError
from lt_det.layers import ScaledLinear
from lt_det.losses import possible_num_logits
from lt_det.modeling import LongTailPredictor
from lt_det.training.checkpointer import BOX_HEAD_KEY, LongTailCheckpointer, second_stage_of

logger = logging.getLogger(__name__)


def train_classifier_only(model: nn.Module, method: str) -> None:
    """Freeze all but the classifiers, or with "lws" their scales. Call it before the optimiser and DDP are made.

    Frozen parameters get no gradient, norm layers and dropout stay in evaluation mode, and the model returns only the
    losses that train something. An empty method changes nothing.

    Raises:
        LtDetError: unknown method, a model without our predictors, or "lws" without a scaled classifier.
    """
    if not checked_second_stage(method):
        return
    model.requires_grad_(False)
    for _, predictor in _predictors(model):
        if method == "crt":
            predictor.cls_score.requires_grad_(True)
        elif isinstance(predictor.cls_score, ScaledLinear):
            predictor.cls_score.scale.requires_grad_(True)
        else:
            raise LtDetError('The second stage lws learns scales; give LongTailPredictor classifier="scaled".')
    for layer in model.modules():
        if hasattr(layer, "running_mean") or "Drop" in type(layer).__name__:  # dropout, stochastic depth
            _keep_in_evaluation(layer)
    model.register_forward_hook(_losses_that_train)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    logger.info(f"Second stage ({method}): {trained:,} weights are trained, all else stays as it is.")


def check_second_stage(method: str, weights: str, output_dir: str, resume: bool) -> None:
    """Raise unless a second stage can start from `weights`, or with `resume` go on, in `output_dir`.

    Args:
        method: of the second stage; empty for none, whose folder must not hold a second stage's checkpoints.
        weights: MODEL.WEIGHTS, the checkpoint of the finished first stage.
        output_dir: a new folder, or that of the same second stage.
        resume: whether to go on where the folder holds a checkpoint.

    Raises:
        LtDetError: unknown method, weights that are not there, or a folder with the checkpoints of another training.
    """
    folder = Path(output_dir)
    goes_on = resume and (folder / "last_checkpoint").is_file()
    stages = {path: second_stage_of(path) for path in sorted(folder.glob("*.pth"))}
    if not checked_second_stage(method):
        stage = next(filter(None, stages.values()), None)
        if stage:
            raise LtDetError(
                f"OUTPUT_DIR {output_dir} holds a second stage ({stage}), which this config does not train; use its "
                f"config (MODEL.LONG_TAIL.SECOND_STAGE.METHOD {stage}), or another OUTPUT_DIR."
            )
        return
    others = [path for path, stage in stages.items() if stage not in (method, None)]
    if others:
        raise LtDetError(
            f"OUTPUT_DIR {output_dir} holds {others[0].name} of another training, but the second stage ({method}) "
            "counts its iterations from 0, with --resume or without; set OUTPUT_DIR to a new folder and MODEL.WEIGHTS "
            "to the checkpoint of the finished first stage."
        )
    if not goes_on and "://" not in weights and not Path(weights).is_file():
        raise LtDetError(
            f"The second stage ({method}) needs the network of a finished training; set MODEL.WEIGHTS (LazyConfig: "
            f"train.init_checkpoint), now '{weights}', to the model_final.pth of the first stage."
        )


class SecondStageCheckpointer(LongTailCheckpointer):
    """Starts a second stage from a finished training's weights, and goes on only from its own checkpoints."""

    def __init__(self, model: nn.Module, save_dir: str, method: str, **checkpointables: Any) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.second_stage = method
        self._starts = False

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """
        Raises:
            LtDetError: as `check_second_stage`; weights that are no finished training of this network, or a model in
                which more than the classifier is trained.
        """
        check_second_stage(self.second_stage, path, self.save_dir, resume)
        trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        if not all(name.startswith(self._anew()) for name in trained):
            raise LtDetError(
                "In a second stage the classifier alone is trained; call lt_det.training.train_classifier_only(model, "
                f"'{self.second_stage}') before the optimiser is made."
            )
        self.exact = True
        self._starts = not (resume and self.has_checkpoint())
        return super().resume_or_load(path, resume=resume)

    def _load_model(self, checkpoint: Any) -> Any:
        if self._starts:
            self._draw_anew(checkpoint)
        incompatible = super()._load_model(checkpoint)
        missing = [name for name in incompatible.missing_keys if not name.endswith("num_batches_tracked")]
        if missing:
            raise LtDetError(
                f"The checkpoint {self._path} has no {missing[0]}, which the second stage would leave as it was drawn; "
                "use the network of the first stage."
            )
        return incompatible

    def _draw_anew(self, checkpoint: Any) -> None:
        """In what was loaded, put what the model has drawn in place of what does not come from the first stage.

        That is the loss's state, and the classifier or its scales. The loss may then be another than the first stage's.
        """
        heads = " ".join(checkpoint.pop(BOX_HEAD_KEY, []))
        if self.second_stage == "lws" and "Cosine" in heads:
            raise LtDetError(
                f"The checkpoint {self._path} has a cosine classifier, whose weights have no length to scale; use crt."
            )
        weights, drawn = checkpoint["model"], self.model.state_dict()
        for name, predictor in _predictors(self.model):
            classifier = weights.get(f"{name}.cls_score.weight")
            if classifier is None:
                raise LtDetError(
                    f"{self._path} holds no trained box head ({name}.cls_score.weight is missing); set MODEL.WEIGHTS "
                    "to the checkpoint of a finished training."
                )
            if len(classifier) not in possible_num_logits(predictor.num_classes):
                raise LtDetError(
                    f"The classifier in {self._path} has {len(classifier)} rows, which are not those of "
                    f"{predictor.num_classes} classes and background; a second stage needs the first one's NUM_CLASSES."
                )
        anew = {key: value for key, value in drawn.items() if key.startswith(self._anew())}
        if self.second_stage == "lws":  # a first stage that was lws itself has learned scales
            anew |= {key: weights[key] for key in anew.keys() & weights.keys() if key.endswith(".scale")}
        for key in [key for key in weights if key.startswith(self._anew())]:
            del weights[key]
        weights.update(anew)

    def _anew(self) -> tuple[str, ...]:
        """How the names begin of what does not come from the first stage."""
        part = "scale" if self.second_stage == "lws" else ""
        names = [name for name, _ in _predictors(self.model)]
        return tuple(f"{name}.{start}" for name in names for start in ("loss.", f"cls_score.{part}"))


def build_checkpointer(method: str, model: nn.Module, save_dir: str, **checkpointables: Any) -> LongTailCheckpointer:
    """The checkpointer of a second stage, or with an empty method that of any training."""
    if not method:
        return LongTailCheckpointer(model, save_dir, **checkpointables)
    return SecondStageCheckpointer(model, save_dir, method, **checkpointables)


def _predictors(model: nn.Module) -> list[tuple[str, LongTailPredictor]]:
    """The box predictors of ours and their names in the model, one per stage of a cascade."""
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, LongTailPredictor)]
    if not found:
        raise LtDetError("A second stage needs one of our box heads; set MODEL.ROI_HEADS.NAME to LongTailROIHeads.")
    return found


def _keep_in_evaluation(layer: nn.Module) -> None:
    """Also where the model is put into training mode, as Detectron2 does after each evaluation."""
    layer.eval()
    layer.train = lambda mode=True: layer  # type: ignore[method-assign]


def _losses_that_train(model: nn.Module, args: Any, losses: Any) -> dict[str, Tensor] | None:
    """A forward hook: those of frozen parts are constants, which would only blur the total."""
    if not (model.training and torch.is_grad_enabled()):
        return None
    return {name: loss for name, loss in losses.items() if loss.requires_grad}
