"""Trainings that are disturbed at random moments, for `make test-long`."""
