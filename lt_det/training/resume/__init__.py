"""Resume a training exactly: image stream, random numbers and metrics."""
