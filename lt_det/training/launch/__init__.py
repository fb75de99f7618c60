"""Start the processes of a training: command line, torchrun, SLURM, rendezvous and timeouts."""
