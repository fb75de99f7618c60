"""Compute the features of a frozen detector: sampled RoIs of the training images, and proposals at test time."""
