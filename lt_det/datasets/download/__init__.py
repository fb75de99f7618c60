"""Downloading LVIS and COCO into the folders where Detectron2 looks for them."""
