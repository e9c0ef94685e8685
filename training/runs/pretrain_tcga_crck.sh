#!/bin/sh
# The paper's encoder for colorectal cancer: ResNet18, batch 128, 100 epochs
# (section 4.1.1). TRAIN is Kather's folder of that name, with the tile images of training and
# validation patients (MSS and MSIMUT); never his TEST. One GPU will do.
# Stopped, by SIGTERM or a crash, it fails, and the same command goes on from its last checkpoint.
#
#   GPUS=1 training/runs/pretrain_tcga_crck.sh TRAIN WORK [--set KEY=VALUE ...]
#
# On several nodes, start torchrun with --nnodes, --node-rank and --rdzv-endpoint as well, and share
# WORK among them.
set -eu
train=$(realpath "$1") work=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"

deepsmile-train tiles "$train" --images --out "$work/tiles"
deepsmile-train pretrain "$work/tiles" --preset paper-tcga-crck --out "$work/run" --dry-run "$@"
torchrun --standalone --nproc-per-node "${GPUS:-1}" --no-python \
    deepsmile-train pretrain "$work/tiles" --preset paper-tcga-crck --out "$work/run" "$@"
deepsmile-train probe "$work/run/encoder.pt" --store "$work/tiles" --out "$work/probe.json"
deepsmile-train export-encoder "$work/run/encoder.pt" --name simclr_tcga_crck \
    --store "$work/tiles" --probe "$work/probe.json" --out "$work/model_repository"
