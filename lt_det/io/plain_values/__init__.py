"""Pickles and yaml files read as plain values: numbers, texts, containers and arrays; nothing in them runs."""
