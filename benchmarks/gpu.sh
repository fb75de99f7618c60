#!/usr/bin/env bash
# Measure and check lt_det on a GPU, in 500 seconds. Without a GPU every stage runs in small; see docs/gpu.md.
#
#   benchmarks/gpu.sh                 all stages
#   benchmarks/gpu.sh losses step     these stages, in this order
#   benchmarks/gpu.sh --list          list the stages
#   benchmarks/gpu.sh --prepare       write what a machine without network or OpenCV lacks to .gpu/
#
# PYTHON names the interpreter (default: python3), OUT the output folder (default: output/gpu).
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" -W ignore -m benchmarks.gpu.main "$@"
