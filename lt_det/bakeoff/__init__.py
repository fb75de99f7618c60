"""Choose a loss: train the classifier of a frozen detector with every candidate, and evaluate each."""
