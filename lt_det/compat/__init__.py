"""Every private or patched piece of Detectron2 and torch that lt_det depends on, with the version it was seen in.

When a new version breaks something, look here first. Subclasses that override protected methods of a Detectron2 class
(samplers, checkpointer, evaluation hook) stay with their subject.
"""
