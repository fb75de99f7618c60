"""The log of a training: what is measured, and where it is written."""
