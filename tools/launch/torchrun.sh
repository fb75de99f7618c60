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

exec python -m torch.distributed.run \
    --nnodes "$nodes" --nproc-per-node "$gpus" --max-restarts 0 \
    --rdzv-backend c10d --rdzv-endpoint "$head:$port" --rdzv-id "${RUN:-lt_det}" \
    "$tool" --resume "$@"
