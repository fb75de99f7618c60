#!/usr/bin/env python
"""Train or evaluate a yaml config, as `lt-det train` does.

tools/train_net.py --config configs/lvis_eql.yaml --num-gpus 8
tools/train_net.py --config configs/lvis_eql.yaml --eval-only MODEL.WEIGHTS model_final.pth
tools/train_net.py --config configs/lvis_eql.yaml --resume
"""

import sys

from lt_det.training import argument_parser, run
from lt_det.training.launch.programs import train_yaml as main

if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
