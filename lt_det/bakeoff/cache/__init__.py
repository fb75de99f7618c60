"""The features of a frozen detector, on disk."""
