#!/usr/bin/env python
"""Draw the detections of a trained detector on images and videos, as `lt-det demo` does.

tools/demo.py --config configs/mini_lvis_eql.yaml --input datasets/mini_lvis/val --output output/shown
tools/demo.py --config configs/lvis_eql.yaml --weights model_final.pth --input a.jpg b.mp4 --output output/shown
"""

import sys

from lt_det.cli.tools.demo import main, parser, run

__all__ = ["main", "parser"]

if __name__ == "__main__":
    sys.exit(run())
