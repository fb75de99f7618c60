"""Datasets that lt_det generates itself."""
