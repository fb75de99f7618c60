"""Options that several commands of `lt-det` have."""
