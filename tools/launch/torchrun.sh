#!/usr/bin/env bash
# Train on several machines without SLURM. Run the same command on each of them, from the root of the repository:
#
#   HEAD=HOST NODES=2 GPUS=8 tools/launch/torchrun.sh --config configs/lvis_eql.yaml OUTPUT_DIR SHARED/FOLDER
#
# HEAD is one of the machines, by a name that all can reach; OUTPUT_DIR lies where all can read it.

set -eu
head=${HEAD:?set HEAD to the name of one machine that all others can reach}
nodes=${NODES:?set NODES to the number of machines}
gpus=${GPUS:?set GPUS to the number of GPUs (on the CPU: of processes) on each machine}
port=${PORT:-29400}              # open between the machines
tool=${TOOL:-tools/train_net.py} # TOOL=tools/lazyconfig_train_net.py for LazyConfigs

resume=--resume # but --eval-only judges MODEL.WEIGHTS, and with --resume the last checkpoint in OUTPUT_DIR
for word in "$@"; do
    if [[ $word == --eval-only ]]; then resume=; fi
done

# torchrun passes signals on, SIGUSR1 only if it is told to: without, as in torch before 2.9 or so, it dies of it and leaves
# its processes running. They have 300 seconds to save, and not torchrun's 30, before they are killed.
export PET_SIGNALS_TO_HANDLE=${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-300}

exec python -m torch.distributed.run \
    --nnodes "$nodes" --nproc-per-node "$gpus" --max-restarts 0 \
    --rdzv-backend c10d --rdzv-endpoint "$head:$port" --rdzv-id "${RUN:-lt_det}" \
    "$tool" ${resume:+"$resume"} "$@"
