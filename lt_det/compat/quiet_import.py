"""Importing this imports Detectron2 without a deprecation warning about which a user can do nothing.

Detectron2 0.6 and its main branch use torch.jit.script, which torch 2.14 deprecates. Packages of lt_det that import
Detectron2 import this first.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
    import detectron2.modeling  # noqa: F401
