"""What the papers of the losses plot, measured on one detector: gradients, influence, margins, deviation, confusion."""
