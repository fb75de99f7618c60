"""Meta-learned weights and hyper-parameters of a classifier's loss: a closed form, and methods that use it."""
