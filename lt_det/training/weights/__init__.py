"""Weights in files: read without running anything that a file holds, and stripped of everything else."""
