"""mini_lvis with EQL: configs/mini_lvis_eql.yaml, which has the number to expect, as a LazyConfig."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, StandardROIHeads

from lt_det.modeling import LongTailPredictor, MiniBackbone, build_loss_for_data
from lt_det.trainer_keys import TrainerKeys

from .common.data import loaders, resize
from .common.solver import multi_step, optimizer
from .common.train import train

dataloader = loaders(
    "mini_lvis_train", "mini_lvis_val", [resize(144)], resize(144), masks=False, batch_size=8, workers=1
)

model = L(GeneralizedRCNN)(
    backbone=L(MiniBackbone)(),
    proposal_generator=L(RPN)(
        in_features=["p3"],
        head=L(StandardRPNHead)(in_channels=64, num_anchors=6),
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[20, 32, 48]], aspect_ratios=[[0.7, 1.4]], strides=[8], offset=0.0
        ),
        anchor_matcher=L(Matcher)(thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=64,
        positive_fraction=0.5,
        pre_nms_topk=(300, 200),
        post_nms_topk=(100, 50),
        nms_thresh=0.7,
    ),
    roi_heads=L(StandardROIHeads)(
        num_classes=62,
        batch_size_per_image=64,
        positive_fraction=0.25,
        proposal_matcher=L(Matcher)(thresholds=[0.5], labels=[0, 1], allow_low_quality_matches=False),
        box_in_features=["p3"],
        box_pooler=L(ROIPooler)(output_size=7, scales=(1 / 8,), sampling_ratio=1, pooler_type="ROIAlignV2"),
        box_head=L(FastRCNNConvFCHead)(
            input_shape=ShapeSpec(channels=64, height=7, width=7), conv_dims=[], fc_dims=[256]
        ),
        box_predictor=L(LongTailPredictor)(
            input_shape=ShapeSpec(channels=256),
            box2box_transform=L(Box2BoxTransform)(weights=(10.0, 10.0, 5.0, 5.0)),
            loss=L(build_loss_for_data)(name="eql", num_classes="${...num_classes}", datasets=["mini_lvis_train"]),
            max_iter="${train.max_iter}",
            trainer_keys=L(TrainerKeys.from_lazy)(train="${train}"),
            cls_agnostic_bbox_reg=True,
            test_score_thresh=1e-4,
            test_topk_per_image=300,
        ),
    ),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[64.0, 64.0, 64.0],
    input_format="BGR",
)

optimizer.lr = 0.04
train.device = "cpu"
train.max_iter = 800
train.eval_period = 400
train.checkpointer.period = 200
train.clip_norm = 1.0
train.seed = 0
train.output_dir = "output/lazy_mini_lvis_eql"
lr_multiplier = multi_step([560, 720], train.max_iter, warmup_iters=100)
