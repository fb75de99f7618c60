"""Mutated files through every command: no traceback, no hang, and no wrong acceptance.

``make fuzz`` runs many of them; see `tests.fuzz.__main__` for one mutation again.
"""
