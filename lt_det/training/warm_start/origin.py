"""With which loss and classifier the box head in a file of weights was trained."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lt_det.layers import CosineClassifier
from lt_det.losses import LOSSES, name_in_checkpoint, registered_name
from lt_det.modeling import LongTailPredictor
from lt_det.trainer_keys import LOSS_OF_WEIGHTS
from lt_det.training.config_files.key_paths import value_at
from lt_det.training.config_files.run_config import config_in

FAMILIES_KEY = "long_tail_families"  # in lt_det's checkpoints

# Softmax gradients sum to 0 over the columns, and so the mean of the biases stays where it started, at 0; a sigmoid
# classifier has the small probability of each class in them (Detectron2's, too, which also starts at 0).
_BIAS_OF_SIGMOIDS = -1.0

_MOST_FURTHER_ROWS = 2  # of a classifier, beside those of the classes: Seesaw's


@dataclass(frozen=True)
class Origin:
    """How a box classifier was trained.

    Attributes:
        loss: registered name of the loss.
        family: see `ClassificationLoss.family`.
        kind: "linear", also with a scale per class, or "cosine".
        known_from: where this is written.
        certain: False if nothing says it, so that it is only the most likely.
    """

    loss: str
    family: str
    kind: str
    known_from: str
    certain: bool = True

    @property
    def scaled_by_loss(self) -> bool:
        """See `ClassificationLoss.scales_cosines`."""
        return self.loss in LOSSES and LOSSES[self.loss].scales_cosines

    def __str__(self) -> str:
        return f"trained with {self.loss} on a {self.kind} classifier ({self.known_from})"


def unusual_families(model: nn.Module) -> dict[str, list[str]]:
    """What a checkpoint records if a box predictor's loss has another family than its default form; else empty."""
    losses = [module.loss for module in model.modules() if isinstance(module, LongTailPredictor)]
    families = [loss.family for loss in losses]
    return {} if families == [_family(registered_name(loss)) for loss in losses] else {FAMILIES_KEY: families}


def kind_of(classifier: nn.Module) -> str:
    """ "linear", also with a scale per class, or "cosine"."""
    return "cosine" if isinstance(classifier, CosineClassifier) else "linear"


def recorded(head: str, family: str | None) -> Origin:
    """The origin that lt_det's checkpoints record.

    Args:
        head: the checkpoint's text for a head, such as "eql on Linear".
        family: of the loss; None: that of its default form.
    """
    loss, _, layer = head.partition(" on ")
    loss = name_in_checkpoint(loss)
    kind = "cosine" if "Cosine" in layer else "linear"
    return Origin(loss, family or _family(loss), kind, "recorded in the checkpoint")


def stated(loss: str) -> Origin:
    """The origin for a name in MODEL.LONG_TAIL.LOSS_OF_WEIGHTS, with the classifier that this loss has by default."""
    return Origin(loss, _family(loss), LOSSES[loss].default_classifier, f"{LOSS_OF_WEIGHTS} says")


def written_in_config(path: str, output_dir: str) -> Origin | None:
    """The origin by the config.yaml beside the weights; None without one that says it.

    The one in this training's own OUTPUT_DIR does not count: it was overwritten a moment ago.
    """
    folder = Path(path).parent
    if "://" in path or (output_dir and _same(folder, output_dir)):
        return None
    config = config_in(folder)
    where = f"{folder / 'config.yaml'} says"
    if value_at(config, "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE") is True:
        return Origin("sigmoid", "sigmoid", "linear", where)
    stages = value_at(config, "model.roi_heads.box_predictor")  # LazyConfig; a list in a cascade
    for stage in stages if isinstance(stages, list) else [stages]:
        if value_at(stage, "use_sigmoid_ce") is True:
            return Origin("sigmoid", "sigmoid", "linear", where)
    heads = value_at(config, "MODEL.ROI_HEADS.NAME")
    if not isinstance(heads, str):
        return None
    if not heads.startswith("LongTail"):
        return Origin("softmax", "softmax", "linear", where)
    loss = value_at(config, "MODEL.LONG_TAIL.LOSS.NAME")
    if not (isinstance(loss, str) and loss in LOSSES):
        return None
    family = _family(loss)
    base = value_at(config, "MODEL.LONG_TAIL.LOSS.CLASS_BALANCED.BASE")
    if loss == "class_balanced" and base in ("sigmoid", "focal"):
        family = "sigmoid"
    kind = value_at(config, "MODEL.LONG_TAIL.CLASSIFIER")
    if kind not in ("linear", "cosine", "scaled"):
        kind = LOSSES[loss].default_classifier
    return Origin(loss, family, "cosine" if kind == "cosine" else "linear", where)


def recorded_classes(heads: Any, path: str | os.PathLike[str], rows: int) -> int | None:
    """How many classes a box classifier in a file of weights has; None if nothing says it.

    Its rows alone do not: a softmax has one for background, Seesaw two more than classes, and losses of other projects
    may have none.

    Args:
        heads: what lt_det's checkpoints record of their heads; None in other files.
        path: of the file, beside which may be the config.yaml of its training.
        rows: of the classifier.
    """
    if isinstance(heads, list) and heads:
        loss = name_in_checkpoint(str(heads[0]).partition(" on ")[0])
        if loss in LOSSES:
            return rows - (LOSSES[loss](2).num_logits - 2)
    config = config_in(Path(path).parent)
    found = value_at(config, "MODEL.ROI_HEADS.NUM_CLASSES") or value_at(config, "model.roi_heads.num_classes")
    fits = isinstance(found, int) and 0 <= rows - found <= _MOST_FURTHER_ROWS
    return found if fits else None


def assumed(predictor: LongTailPredictor, has_bias: bool) -> Origin:
    """The most likely origin where nothing says it: softmax, unless the biases are those of another family.

    Args:
        predictor: with the weights.
        has_bias: whether there is a bias in the weights.
    """
    loss, bias = predictor.loss, predictor.cls_score.bias
    if loss.num_logits == predictor.num_classes + 2 and bias is not None:
        foreground, background = bias.detach()[-2:].tolist()
        if math.isclose(foreground, -background, rel_tol=1e-3):  # the two gradients of objectness sum to 0
            reason = f"by its biases; {LOSS_OF_WEIGHTS} can say otherwise"
            return Origin(registered_name(loss), loss.family, kind_of(predictor.cls_score), reason, False)
    if not has_bias:
        return Origin("ldam", "softmax", "cosine", f"it has no bias; {LOSS_OF_WEIGHTS} can say otherwise", False)
    if bias is not None and float(bias.detach().mean()) < _BIAS_OF_SIGMOIDS:
        return Origin("sigmoid", "sigmoid", "linear", f"by its biases; {LOSS_OF_WEIGHTS} can say otherwise", False)
    return Origin("softmax", "softmax", "linear", f"as nothing says otherwise; {LOSS_OF_WEIGHTS} can", False)


def _family(loss: str) -> str:
    """That of the loss with default hyper-parameters; of one that is no longer registered, "softmax"."""
    return LOSSES[loss](2).family if loss in LOSSES else "softmax"


def _same(folder: Path, other: str) -> bool:
    return os.path.realpath(folder) == os.path.realpath(other)
