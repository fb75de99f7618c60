"""LVIS v1 with EQL: configs/lvis_eql.yaml as a LazyConfig.

No reference number is known for this schedule. The EQLv2 README reports for 12 epochs: mask AP 18.6, APr 2.1, APc 17.4,
APf 27.2.
"""

from detectron2.config import LazyCall as L

from lt_det.modeling import build_loss_for_data

from .common.data import flip, loaders, resize
from .common.mask_rcnn_r50_fpn import model
from .common.solver import multi_step, optimizer
from .common.train import train

dataloader = loaders(
    "lvis_v1_train",
    "lvis_v1_val",
    [resize(640, 672, 704, 736, 768, 800), flip],
    resize(800),
    masks=True,
    batch_size=16,
    workers=4,
)

model.roi_heads.num_classes = 1203
model.roi_heads.box_predictor.update(
    loss=L(build_loss_for_data)(
        name="eql",
        num_classes="${...num_classes}",
        datasets=["lvis_v1_train"],
    ),
    test_score_thresh=1e-4,
    test_topk_per_image=300,
)

train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
train.max_iter = 180000
train.output_dir = "output/lazy_lvis_eql"
lr_multiplier = multi_step([120000, 160000], train.max_iter)
