#!/usr/bin/env python
"""Draw the figures of docs/losses/ into docs/images, from the losses themselves.

python docs/figures.py
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch

from lt_det.losses import SigmoidFocal
from lt_det.losses.class_weights import effective_number_weights
from lt_det.losses.ldam import ldam_margins

matplotlib.use("Agg")
IMAGES = Path(__file__).parent / "images"
# Okabe and Ito's palette with a dash for each color, for readers without color vision and for print.
STYLES = [
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#000000", (0, (5, 1, 1, 1, 1, 1))),
]


def figure(name, xlabel, ylabel, curves, **axis):
    """`curves`: label to (x, y)."""
    fig, ax = plt.subplots(figsize=(5.6, 3.4), dpi=150)
    for (label, (x, y)), (color, dashes) in zip(curves.items(), STYLES, strict=False):
        ax.plot(x, y, color=color, linestyle=dashes, linewidth=1.8, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel, **axis)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    fig.savefig(IMAGES / name, bbox_inches="tight", facecolor="white")
    plt.close(fig)


def focal():
    """Figure 1 of Lin et al.: the loss of one term against the probability of its target."""
    p = np.linspace(0.005, 0.995, 300)
    logits = torch.logit(torch.from_numpy(p))
    curves = {}
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
        loss = SigmoidFocal(1, alpha=None, gamma=gamma, divide_by="rois")
        terms = [loss(torch.stack([z, z.new_zeros(())])[None], torch.tensor([0])).item() for z in logits]
        curves[f"γ = {gamma:g}" + (" (cross-entropy)" if gamma == 0 else "")] = (p, terms)
    figure("focal.png", "probability of the target, $p_t$", "loss", curves, ylim=(0, 5), xlim=(0, 1))


def class_balanced():
    """The weight of a class against its count, relative to a class of one instance."""
    counts = np.unique(np.geomspace(1, 100_000, 200).astype(np.int64))
    curves = {}
    for beta in (0.9, 0.99, 0.999, 0.9999):
        weights = effective_number_weights(torch.from_numpy(counts).double(), beta).numpy()
        curves[f"β = {beta:g}"] = (counts, weights / weights[0])
    curves["1 / n"] = (counts, 1 / counts)
    figure(
        "class_balanced.png",
        "training instances of the class",
        "weight / weight at n = 1",
        curves,
        xscale="log",
        yscale="log",
    )


def ldam():
    """The margin of a class against its count, where the rarest class has one instance."""
    counts = np.unique(np.geomspace(1, 100_000, 200).astype(np.int64))
    curves = {
        f"largest margin {margin}": (counts, ldam_margins(torch.from_numpy(counts).double(), margin).numpy())
        for margin in (0.5, 0.3)
    }
    figure("ldam.png", "training instances of the class", "margin (cosine)", curves, xscale="log", ylim=(0, 0.52))


if __name__ == "__main__":
    focal()
    class_balanced()
    ldam()
