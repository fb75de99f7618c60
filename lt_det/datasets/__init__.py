"""Datasets that lt_det generates, splits or downloads."""
