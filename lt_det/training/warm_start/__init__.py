"""What happens to the box classifier where a training starts from the weights of another one."""

from lt_det.training.warm_start.classes import other_classes, refuse_moved_classes
from lt_det.training.warm_start.classifier import WarmStart
from lt_det.training.warm_start.origin import unusual_families

__all__ = ["WarmStart", "other_classes", "refuse_moved_classes", "unusual_families"]
