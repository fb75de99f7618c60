"""The tables and the figure of docs/evidence.md, made from results/."""
