"""What `benchmarks/gpu.sh` runs; see docs/gpu.md."""
