"""The zoo: what each shipped config reaches, and whether a training is on its way there."""
