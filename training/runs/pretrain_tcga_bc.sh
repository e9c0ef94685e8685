#!/bin/sh
# The paper's encoder for breast cancer: ShuffleNetV2 x1.0, batch 950, 45 epochs
# (section 4.1.1). SLIDES are those of the training and validation patients of one fold, never
# its test patients. The paper needed three days on four GPUs of 24 GB. The batch is what ranks can share equally:
# on four GPUs 948 of 950 tiles.
# Stopped, by SIGTERM or a crash, it fails, and the same command goes on from its last checkpoint.
#
#   GPUS=4 training/runs/pretrain_tcga_bc.sh SLIDES WORK [--set KEY=VALUE ...]
#
# On several nodes, start torchrun with --nnodes, --node-rank and --rdzv-endpoint as well, and share
# WORK among them.
set -eu
slides=$(realpath "$1") work=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"

deepsmile-train tiles "$slides" --out "$work/tiles"
deepsmile-train pretrain "$work/tiles" --preset paper-tcga-bc --out "$work/run" --dry-run "$@"
torchrun --standalone --nproc-per-node "${GPUS:-1}" --no-python \
    deepsmile-train pretrain "$work/tiles" --preset paper-tcga-bc --out "$work/run" "$@"
deepsmile-train probe "$work/run/encoder.pt" --store "$work/tiles" --out "$work/probe.json"
deepsmile-train export-encoder "$work/run/encoder.pt" --name simclr_tcga_bc \
    --store "$work/tiles" --probe "$work/probe.json" --out "$work/model_repository"
