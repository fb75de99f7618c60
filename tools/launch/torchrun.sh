#!/usr/bin/env bash
# Train on several machines without SLURM. Run the same command on each of them, from the root of the repository:
#
#   HEAD=HOST NODES=2 GPUS=8 tools/launch/torchrun.sh --config configs/lvis_eql.yaml OUTPUT_DIR SHARED/FOLDER
#
# HEAD is one of the machines, by a name that all can resolve. All machines must be able to read OUTPUT_DIR.

set -eu
head=${HEAD:?set HEAD to the name of one machine that all others can reach}
nodes=${NODES:?set NODES to the number of machines}
gpus=${GPUS:?set GPUS to the number of GPUs (on the CPU: of processes) on each machine}
port=${PORT:-29400}              # must be open between the machines
tool=${TOOL:-tools/train_net.py} # TOOL=tools/lazyconfig_train_net.py for LazyConfigs

# --eval-only evaluates MODEL.WEIGHTS, but with --resume the last checkpoint in OUTPUT_DIR.
resume=--resume
for argument in "$@"; do
    if [[ $argument == --eval-only ]]; then resume=; fi
done

# torchrun forwards SIGUSR1 only if it is in this list. Old torch (2.1.2) ignores the list: SIGUSR1 ends torchrun alone.
# After a signal, processes have 300 seconds to save (torchrun's default: 30, in old torch always) before SIGKILL.
export PET_SIGNALS_TO_HANDLE=${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-300}

exec python -m torch.distributed.run \
    --nnodes "$nodes" --nproc-per-node "$gpus" --max-restarts 0 \
    --rdzv-backend c10d --rdzv-endpoint "$head:$port" --rdzv-id "${RUN:-lt_det}" \
    "$tool" ${resume:+"$resume"} "$@"
