"""One module per stage. Each runs in a process of its own and writes its figures as it goes."""
