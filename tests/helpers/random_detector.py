"""The checkpoint of a detector that has not been trained."""

import torch
from detectron2.modeling import build_model

from lt_det.training import LongTailCheckpointer, load_config


def random_checkpoint(config, folder, *overrides):
    """Weights that detect something by chance, with scores high enough that a shift changes the result."""
    model = build_model(load_config(str(config), ["MODEL.WEIGHTS", "", *overrides]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                scale = 0.1 if "cls_score" in name else weight.std() if weight.std() > 0 else 0.01
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    LongTailCheckpointer(model, str(folder)).save("model_final", iteration=5)
    return str(folder / "model_final.pth")
