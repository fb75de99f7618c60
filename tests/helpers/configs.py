"""Configs and overrides that several tests train or predict with."""

from tests.helpers import REPOSITORY

SEESAW = str(REPOSITORY / "configs" / "mini_lvis_seesaw.yaml")

# A small training with whatever can be drawn at random. The training process samples anchors, RoIs and classes; flips
# and sizes are sampled in the loading process, if there is one.
RANDOM_TRAINING = [
    *("INPUT.RANDOM_FLIP", "horizontal", "INPUT.MIN_SIZE_TRAIN", "(32,40,48)"),
    *("INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice", "DATALOADER.ASPECT_RATIO_GROUPING", "True"),
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "16", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16"),
    *("MODEL.LONG_TAIL.LOSS.NAME", "federated", "MODEL.LONG_TAIL.LOSS.FEDERATED.NUM_SAMPLED", "4"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "32", "SOLVER.IMS_PER_BATCH", "4", "SOLVER.STEPS", "(4,)"),
    *("SOLVER.MAX_ITER", "5", "SOLVER.CHECKPOINT_PERIOD", "3", "SOLVER.WARMUP_ITERS", "2"),
]
