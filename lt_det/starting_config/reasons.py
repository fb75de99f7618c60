"""Comments of a starting config that are the same for all data."""

from __future__ import annotations

SECTIONS = {
    "DATASETS": "Paths are absolute, so that this file may be moved; $VARIABLES and ~ are expanded.",
    "MODEL.RPN": "The region proposal network, and how many proposals it passes on.",
    "MODEL.ROI_BOX_HEAD": "The head that classifies proposals and moves their boxes.",
    "MODEL.ROI_MASK_HEAD": "The head that predicts masks.",
    "MODEL.ROI_KEYPOINT_HEAD": "The head that predicts keypoints.",
    "INPUT": "Images are resized so that their shorter edge is a MIN_SIZE, unless the longer one exceeds a MAX_SIZE.",
    "SOLVER.CLIP_GRADIENTS": "Each parameter's gradient is clipped: a batch with rare classes may have a large one.",
    "TEST.BUCKETS": "Groups of classes by their frequency in training; the evaluation reports AP of each.",
}

REASONS = {
    "MODEL.PIXEL_MEAN": "As the weights were trained, like INPUT.FORMAT.",
    "MODEL.PIXEL_STD": "As the weights were trained.",
    "MODEL.BACKBONE.FREEZE_AT": "The first stages stay as they are: few images would not improve them.",
    "MODEL.TIMM.NAME": "Any feature extractor of timm; its weights must be those of MODEL.WEIGHTS.",
    "MODEL.TIMM.NORM": "Batch norm stays as it was trained: a batch is too small for statistics of its own.",
    "MODEL.FPN.NORM": "What is not pretrained has norms, and learns several times faster for it.",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "Anchors per image in the loss: of more, nearly all would be background.",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "Proposals per image in the losses.",
    "MODEL.ROI_HEADS.NAME": "Detectron2's heads with the loss of MODEL.LONG_TAIL.LOSS.",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": (
        "One box regression for all classes: a rare class has too few boxes to learn its own."
    ),
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": (
        "One mask per object, and not one per class: a rare class has too few masks to learn its own."
    ),
    "MODEL.LONG_TAIL.LOSS.NAME": (
        "The honest start. Afterwards `lt-det bakeoff` finds in minutes which loss helps on these data."
    ),
    "INPUT.FORMAT": "Order of the channels that the weights were trained with.",
    "SOLVER.BASE_LR": "For this batch, with gradients clipped.",
    "SEED": "The same config trains the same detector, as far as the device allows.",
}
