"""Yaml configs: read with their `_BASE_`, and checked against the types and ranges of the defaults."""
