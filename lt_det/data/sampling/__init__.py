"""Training samplers, their registry, and the log of what they draw from each frequency bucket."""
