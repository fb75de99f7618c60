"""A config to start with, from a look at the data: `lt-det init`."""

from lt_det.starting_config.writing import StartingConfig, write_config

__all__ = ["StartingConfig", "write_config"]
