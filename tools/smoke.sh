#!/usr/bin/env bash
# Try a training before it costs days: 20 iterations, resume, evaluation of 100 images, and what the whole would take.
#
#   tools/smoke.sh --config configs/lvis_eql.yaml [KEY VALUE ...]
#
# It trains on all GPUs of this machine, or with PROCESSES (default: 1) processes on the CPU. ITERATIONS (20) and
# IMAGES (100) set the size, OUT (output/smoke) the folder for all files, PYTHON (python) the interpreter.
# Exit code 0: all steps work. The figures are in $OUT/smoke.md.

set -u
tools=$(dirname "$0")
export OUT=${OUT:-output/smoke} ITERATIONS=${ITERATIONS:-20} IMAGES=${IMAGES:-100}
export LT_DET_CACHE=${LT_DET_CACHE:-$OUT/cache}
python=${PYTHON:-python}
stopped_by_signal=138 # 128 + SIGUSR1, with which a training stops after ITERATIONS

if [[ $# -lt 2 || $1 != --config ]]; then
    echo "usage: tools/smoke.sh --config FILE.yaml [KEY VALUE ...]" >&2
    exit 2
fi
config=$2
shift 2
if [[ ! $ITERATIONS =~ ^[1-9][0-9]*$ || $ITERATIONS -lt 2 || ! $IMAGES =~ ^[1-9][0-9]*$ ]]; then
    echo "error: ITERATIONS is $ITERATIONS and IMAGES $IMAGES; write whole numbers, at least 2 and 1." >&2
    exit 1
fi
if [[ -n $(ls -A "$OUT" 2>/dev/null) ]]; then
    echo "error: $OUT is not empty; remove it, or set OUT to another folder." >&2
    exit 1
fi

# step NAME EXPECTED_CODE ARGUMENTS
step() {
    local name=$1 expected=$2 code
    shift 2
    printf '\n== %s\n' "$name"
    "$python" "$tools/smoke.py" "$@"
    code=$?
    if [[ $code -ne $expected ]]; then
        printf 'error: the smoke test failed at its step "%s" (exit code %d; its message is above).\n' "$name" "$code" >&2
        exit $((code == 0 ? 1 : code))
    fi
}

if ! gpus=$("$python" -c 'import torch; print(torch.cuda.device_count())'); then
    echo "error: $python does not import torch (see the line above); activate its environment, or set PYTHON." >&2
    exit 1
fi
if [[ $gpus -gt 0 ]]; then
    launch=(--num-gpus "$gpus" --dist-url auto)
    device=()
else
    launch=(--num-processes "${PROCESSES:-1}" --dist-url auto)
    device=(MODEL.DEVICE cpu)
fi

train=(train --config "$config" "${launch[@]}")
keys=("$@" ${device[@]+"${device[@]}"} OUTPUT_DIR "$OUT/training")
step "train $ITERATIONS iterations" $stopped_by_signal "${train[@]}" "${keys[@]}"
step "resume and train $ITERATIONS more" $stopped_by_signal "${train[@]}" --resume "${keys[@]}"
step "select $IMAGES test images" 0 select
step "evaluate $IMAGES images" 0 evaluate --config "$OUT/evaluation.yaml" "${launch[@]}"
step "extrapolate" 0 extrapolate
