"""Commands that read or write annotation files."""
