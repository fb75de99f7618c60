#!/usr/bin/env bash
# Copy data to the local disk of this machine, for DETECTRON2_DATASETS; slurm.sbatch runs it once on each node.
#
#   tools/launch/stage.sh SHARED/FOLDER LOCAL/FOLDER      # links are followed
#   tools/launch/stage.sh SHARED/FILE.tar LOCAL/FOLDER    # one large file: much faster than 120,000 images
#
# SHARED/FOLDER has the layout of DETECTRON2_DATASETS. To pack it:
#   tar -chf SHARED/lvis.tar -C DETECTRON2_DATASETS lvis coco/train2017 coco/val2017

set -eu
source=${1:?give a folder or a tar file to copy}
target=${2:?give the folder to copy it to}

fail() {
    printf 'error: %s on %s.\n' "$1" "$(hostname)" >&2
    exit 1
}

umask 077 # nobody else on the machine reads the copy
start=$SECONDS
mkdir -p "$target" || fail "STAGE cannot make the folder $target"
if [[ -d $source ]]; then
    cp -RL "$source/." "$target" || fail "STAGE cannot copy $source to $target (see the line above)"
elif [[ -f $source ]]; then
    tar -xf "$source" -C "$target" || fail "STAGE cannot unpack $source into $target (see the line above)"
else
    fail "STAGE is $source, which is neither a folder nor a tar file"
fi
printf 'Staged %s in %s:%s in %d s.\n' "$source" "$(hostname)" "$target" "$((SECONDS - start))"
