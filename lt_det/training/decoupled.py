"""Decoupled training: the classifier alone is trained, on the network of a finished training.

Kang et al. 2020, https://arxiv.org/abs/1910.09217: classifier re-training (cRT, "crt") initializes the classifier
again, learnable weight scaling (LWS, "lws") keeps it and learns one scale per class. "meta" is cRT with
meta-learned weights, see `lt_det.training.meta`. Everything else is frozen, box regression too, as in the EQLv2
authors' detectors (https://github.com/tztztztztz/eqlv2, configs/decouple).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lt_det.compat.torch import keep_in_evaluation_mode
from lt_det.config import checked_decoupled_method
from lt_det.errors import LtDetError
from lt_det.layers import ScaledLinear
from lt_det.losses import possible_num_logits
from lt_det.modeling import LongTailPredictor
from lt_det.terminal import count_of
from lt_det.trainer_keys import DECOUPLED, mark_applied
from lt_det.training.checkpointer import BOX_HEAD_KEY, LongTailCheckpointer, decoupled_method_of
from lt_det.training.resume.checkpoint_folder import holds_checkpoint
from lt_det.training.warm_start import WarmStart, other_classes, refuse_moved_classes

logger = logging.getLogger(__name__)


def train_classifier_only(model: nn.Module, method: str) -> None:
    """Freeze all but the classifiers, or with "lws" all but their scales. Call it before optimizer and DDP are built.

    Frozen parameters get no gradient, norm layers and dropout stay in evaluation mode, and the model returns only the
    losses that train something. An empty method changes nothing; a second call changes nothing more. "meta" also needs
    the hook `MetaLearning`, and refuses to train without it.

    Args:
        model: with lt_det's box predictors in it.
        method: "crt", "lws", "meta" or empty.

    Raises:
        LtDetError: unknown method, a model without lt_det's predictors, or "lws" without a scaled classifier.
    """
    if not checked_decoupled_method(method) or getattr(model, "decoupled_method", "") == method:
        return
    model.requires_grad_(False)
    for _, predictor in _predictors(model):
        if method in ("crt", "meta"):
            predictor.cls_score.requires_grad_(True)
        elif isinstance(predictor.cls_score, ScaledLinear):
            predictor.cls_score.scale.requires_grad_(True)
        else:
            raise LtDetError('SECOND_STAGE.METHOD lws learns scales; give LongTailPredictor classifier="scaled".')
    for layer in model.modules():
        if hasattr(layer, "running_mean") or "Drop" in type(layer).__name__:  # dropout, stochastic depth
            keep_in_evaluation_mode(layer)
    model.register_forward_hook(_losses_that_train)
    model.decoupled_method = method  # type: ignore[assignment]
    if method == "meta":
        for _, predictor in _predictors(model):
            predictor.trainer_keys.require(DECOUPLED, method)
    else:
        mark_applied(model, DECOUPLED)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    logger.info(f"Decoupled training ({method}): {trained:,} weights are trained, everything else is frozen.")


def check_decoupled_training(method: str, weights: str, output_dir: str, resume: bool) -> None:
    """Raise unless decoupled training can start from `weights`, or with `resume` be resumed, in `output_dir`.

    Args:
        method: "crt", "lws", "meta" or empty; if empty, the folder must not hold checkpoints of decoupled training.
        weights: MODEL.WEIGHTS, the checkpoint of the finished training.
        output_dir: a new folder, or that of the same decoupled training.
        resume: whether to resume if the folder holds a checkpoint.

    Raises:
        LtDetError: unknown method, weights that do not exist, or a folder with the checkpoints of another training.
    """
    folder = Path(output_dir)
    resumes = resume and holds_checkpoint(folder)
    methods = {path: decoupled_method_of(path) for path in sorted(folder.glob("*.pth"))}
    if not checked_decoupled_method(method):
        found = next(filter(None, methods.values()), None)
        if found:
            raise LtDetError(
                f"OUTPUT_DIR {output_dir} holds a decoupled training ({found}), which this config does not do; use its "
                f"config (MODEL.LONG_TAIL.SECOND_STAGE.METHOD {found}), or another OUTPUT_DIR."
            )
        return
    others = [path for path, found in methods.items() if found not in (method, None)]
    if others:
        raise LtDetError(
            f"OUTPUT_DIR {output_dir} holds {others[0].name} of another training, but decoupled training ({method}) "
            "counts its iterations from 0, with --resume or without; set OUTPUT_DIR to a new folder and MODEL.WEIGHTS "
            "to the checkpoint of the finished training."
        )
    if not resumes and "://" not in weights and not Path(weights).is_file():
        raise LtDetError(
            f"Decoupled training ({method}) needs the network of a finished training; set MODEL.WEIGHTS (LazyConfig: "
            f"train.init_checkpoint), now '{weights}', to its model_final.pth."
        )


class DecoupledCheckpointer(LongTailCheckpointer):
    """Starts decoupled training from a finished training's weights, and resumes only its own checkpoints."""

    def __init__(self, model: nn.Module, save_dir: str, method: str, **checkpointables: Any) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.decoupled = method
        self._starts = False

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """
        Raises:
            LtDetError: see `check_decoupled_training`; also weights that are not those of a finished training of this
                network, or a model in which more than the classifier is trained.
        """
        check_decoupled_training(self.decoupled, path, self.save_dir, resume)
        trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        if not all(name.startswith(self._initialized()) for name in trained):
            raise LtDetError(
                "Decoupled training trains the classifier alone; call lt_det.training.train_classifier_only(model, "
                f"'{self.decoupled}') before the optimizer is built."
            )
        self.exact = True
        self._starts = not (resume and self.has_checkpoint())
        return super().resume_or_load(path, resume=resume)

    def _load_model(self, checkpoint: Any) -> Any:
        start = None
        if self._starts:
            if self.decoupled == "lws":
                start = WarmStart(self.model, checkpoint, checkpoint.get(BOX_HEAD_KEY), self._path, self.save_dir)
            others = other_classes(checkpoint, self._path, self.classes)
            self._keep_initialized(checkpoint)
        incompatible = super()._load_model(checkpoint)
        if start is not None:
            start.warn_of_unusable(incompatible)
            refuse_moved_classes(others, self._path)
        missing = [name for name in incompatible.missing_keys if not name.endswith("num_batches_tracked")]
        if missing:
            raise LtDetError(
                f"The checkpoint {self._path} has no {missing[0]}, which decoupled training would leave at its random "
                "initialization; use the network that was trained."
            )
        return incompatible

    def _keep_initialized(self, checkpoint: Any) -> None:
        """In what was loaded, replace what is not taken from the finished training by the model's initial values.

        That is the loss's state, and the classifier or its scales. The loss may then be another than before.
        """
        heads = " ".join(checkpoint.pop(BOX_HEAD_KEY, []))
        if self.decoupled == "lws" and "Cosine" in heads:
            raise LtDetError(
                f"The checkpoint {self._path} has a cosine classifier, where the lengths of the weights do not matter; "
                "use crt."
            )
        weights, initial = checkpoint["model"], self.model.state_dict()
        for name, predictor in _predictors(self.model):
            classifier = weights.get(f"{name}.cls_score.weight")
            if classifier is None:
                raise LtDetError(
                    f"{self._path} holds no trained box head ({name}.cls_score.weight is missing); set MODEL.WEIGHTS "
                    "to the checkpoint of a finished training."
                )
            if len(classifier) not in possible_num_logits(predictor.num_classes):
                raise LtDetError(
                    f"The classifier in {self._path} has {count_of(len(classifier), 'row')}, not those of "
                    f"{count_of(predictor.num_classes, 'class')} and background; set NUM_CLASSES to that of the "
                    "finished training."
                )
        kept = {key: value for key, value in initial.items() if key.startswith(self._initialized())}
        if self.decoupled == "lws":  # the finished training may be lws itself, and has learned scales then
            kept |= {key: weights[key] for key in kept.keys() & weights.keys() if key.endswith(".scale")}
        for key in [key for key in weights if key.startswith(self._initialized())]:
            del weights[key]
        weights.update(kept)

    def _initialized(self) -> tuple[str, ...]:
        """Prefixes of the names of weights that are not taken from the finished training."""
        part = "scale" if self.decoupled == "lws" else ""
        names = [name for name, _ in _predictors(self.model)]
        return tuple(f"{name}.{start}" for name in names for start in ("loss.", f"cls_score.{part}"))


def build_checkpointer(method: str, model: nn.Module, save_dir: str, **checkpointables: Any) -> LongTailCheckpointer:
    """The checkpointer of decoupled training, or with an empty method that of any other training."""
    if not method:
        return LongTailCheckpointer(model, save_dir, **checkpointables)
    return DecoupledCheckpointer(model, save_dir, method, **checkpointables)


def _predictors(model: nn.Module) -> list[tuple[str, LongTailPredictor]]:
    """lt_det's box predictors and their names in the model, one per stage of a cascade."""
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, LongTailPredictor)]
    if not found:
        raise LtDetError(
            "Decoupled training needs a box head of lt_det; set MODEL.ROI_HEADS.NAME to LongTailROIHeads, "
            "LongTailCascadeROIHeads or LongTailRes5ROIHeads."
        )
    return found


def _losses_that_train(model: nn.Module, args: Any, losses: Any) -> dict[str, Tensor] | None:
    """A forward hook that drops the losses of frozen parts: constants that would only obscure the total."""
    if not (model.training and torch.is_grad_enabled()):
        return None
    return {name: loss for name, loss in losses.items() if loss.requires_grad}
