#!/usr/bin/env python
"""Train or evaluate a LazyConfig, as `lt-det train` does.

tools/lazyconfig_train_net.py --config configs/lazy/lvis_eql.py --num-gpus 8
tools/lazyconfig_train_net.py --config configs/lazy/mini_lvis_eql.py train.max_iter=100
"""

import sys

from lt_det.training import argument_parser, run
from lt_det.training.launch.programs import train_lazy as main

if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
