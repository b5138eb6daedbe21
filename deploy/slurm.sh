#!/bin/bash
# Scores shards, merges them, or trains on several nodes, under SLURM. From the project's folder:
#
#   sbatch --array=0-63 deploy/slurm.sh score --shards=64 --detector=D --input=I --output=O
#   sbatch --dependency=afterok:JOB deploy/slurm.sh score --merge --detector=D --input=I --output=O
#   sbatch --nodes=2 deploy/slurm.sh train --config=configs/folder.py --workdir=W
#
# All folders lie on a disk that every node sees. PYTHON names the interpreter; default: python.
#SBATCH --job-name=zfn-ad
#SBATCH --ntasks-per-node=1
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

if [ "$#" -eq 0 ]; then
    echo "usage: sbatch deploy/slurm.sh score|train FLAGS" >&2
    exit 2
fi
script=$1
shift

status=0
# One lost task ends all: those that are left would wait for it.
srun --kill-on-bad-exit=1 "${PYTHON:-python}" "launch/$script.py" "$@" || status=$?
# Stopped at the time limit or before another job, with what was done saved: it goes on later.
if [ "$status" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
