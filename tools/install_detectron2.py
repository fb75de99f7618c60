#!/usr/bin/env python
"""Install Detectron2 0.6 on a machine that reaches only PyPI, as `lt-det install-detectron2` does.

It runs before lt_det and its dependencies are installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lt_det.compat.detectron2_wheel import download, main, repackage, verify

__all__ = ["download", "main", "repackage", "verify"]  # all but main: to make a wheel for another machine

if __name__ == "__main__":
    sys.exit(main())
