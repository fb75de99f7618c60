"""`lt-det install-detectron2`, tools/install_detectron2.py."""

from lt_det.compat.detectron2_wheel import main as run

__all__ = ["run"]
