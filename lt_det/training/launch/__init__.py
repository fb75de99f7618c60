"""Start the processes of a training: options, torchrun, SLURM, rendezvous and timeouts."""
