"""Time and memory of each part of a detector with hundreds to thousands of classes; see docs/scale.md."""
