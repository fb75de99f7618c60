"""Hooks for the choice of weights: best checkpoint, early stopping, moving average, validation loss."""
