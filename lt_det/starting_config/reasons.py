"""Comments of a starting config that are the same for all data."""

from __future__ import annotations

SECTIONS = {
    "DATASETS": "Paths are absolute, so that you can move this file; $VARIABLES and ~ are expanded.",
    "MODEL.RPN": "The region proposal network, and how many proposals it passes on.",
    "MODEL.ROI_BOX_HEAD": "The head that classifies proposals and refines their boxes.",
    "MODEL.ROI_MASK_HEAD": "The head that predicts masks.",
    "MODEL.ROI_KEYPOINT_HEAD": "The head that predicts keypoints.",
    "INPUT": "Images are resized so that their shorter edge is MIN_SIZE, or less if the longer edge would exceed "
    "MAX_SIZE.",
    "SOLVER.CLIP_GRADIENTS": "The gradient of each parameter is clipped, because a batch with rare classes may have "
    "large gradients.",
    "TEST.BUCKETS": "Groups of classes by their frequency in the training set; the evaluation reports the AP of each.",
}

REASONS = {
    "MODEL.PIXEL_MEAN": "What the weights were trained with, in the channel order of INPUT.FORMAT.",
    "MODEL.PIXEL_STD": "What the weights were trained with.",
    "MODEL.BACKBONE.FREEZE_AT": "The first stages are frozen: a small dataset would not improve them.",
    "MODEL.TIMM.NAME": "A timm model; MODEL.WEIGHTS must be weights of this model.",
    "MODEL.TIMM.NORM": "Batch norm keeps its pretrained statistics: a batch is too small to estimate them.",
    "MODEL.FPN.NORM": "Layers that are not pretrained learn faster with normalization.",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "Anchors per image in the loss: if there were more, nearly all would be "
    "background.",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "Proposals per image in the losses.",
    "MODEL.ROI_HEADS.NAME": "Detectron2's heads with the loss of MODEL.LONG_TAIL.LOSS.",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": (
        "One box regression for all classes: a rare class has too few boxes to learn its own."
    ),
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": (
        "One mask predictor for all classes: a rare class has too few masks to learn its own."
    ),
    "MODEL.LONG_TAIL.LOSS.NAME": (
        "The baseline. After training, `lt-det bakeoff` finds within minutes which loss helps on your data."
    ),
    "INPUT.FORMAT": "The channel order that the weights were trained with.",
    "SOLVER.BASE_LR": "Suits this batch size with clipped gradients.",
    "SEED": "With a fixed seed, the same config trains the same detector, as far as the device allows.",
}
