#!/bin/sh
# The paper's encoder for breast cancer: ShuffleNetV2 x1.0, batch 950, 45 epochs
# (section 4.1.1). Of SLIDES those of the fold's test patients are left out; COHORT has cohort.json
# and split.json. The paper needed three days on four GPUs of 24 GB. The batch is what ranks can
# share equally: on four GPUs 948 of 950 tiles.
# Stopped, by SIGTERM or a crash, it fails, and the same command goes on from its last checkpoint.
#
#   GPUS=4 training/runs/pretrain_tcga_bc.sh SLIDES COHORT FOLD WORK [--set KEY=VALUE ...]
#
# On several nodes, start torchrun with --nnodes, --node-rank and --rdzv-endpoint as well, and share
# WORK among them.
set -eu
slides=$(realpath "$1") cohort=$(realpath "$2") fold=$3 work=$(realpath -m "$4")
shift 4
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"

deepsmile-train tiles "$slides" --prepared "$cohort" --fold "$fold" --out "$work/tiles"
deepsmile-train pretrain "$work/tiles" --preset paper-tcga-bc --out "$work/run" --dry-run "$@"
torchrun --standalone --nproc-per-node "${GPUS:-1}" --no-python \
    deepsmile-train pretrain "$work/tiles" --preset paper-tcga-bc --out "$work/run" "$@"
deepsmile-train probe "$work/run/encoder.pt" --store "$work/tiles" --out "$work/probe.json"
deepsmile-train export-encoder "$work/run/encoder.pt" --name simclr_tcga_bc \
    --store "$work/tiles" --probe "$work/probe.json" --out "$work/model_repository"
