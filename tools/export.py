#!/usr/bin/env python
"""Write a trained detector as one file that runs without lt_det and Detectron2, as `lt-det export` does.

tools/export.py --config configs/mini_lvis_eql.yaml --sample-image datasets/mini_lvis/val --output output/exported
tools/export.py --config configs/lvis_eql.yaml --weights model_final.pth --sample-image a.jpg b.jpg --format onnx \\
    --threshold 0.05 --output output/exported
"""

import sys

from lt_det.cli.tools.export import FORMATS, main, parser, run

__all__ = ["FORMATS", "main", "parser"]

if __name__ == "__main__":
    sys.exit(run())
