#!/bin/sh
# SimCLR on a folder of tile images (sub-folders are slides), in minutes on a CPU: pack, train,
# ask the neighbours at the size of the views and as served, export. It shows that everything works
# and something is learnt; it makes no good encoder.
#
#   training/runs/pretrain_smoke.sh IMAGES [WORK]
set -eu
images=$(realpath "$1") work=$(realpath -m "${2:-deepsmile-data/pretrain-smoke}")
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"

deepsmile-train tiles "$images" --images --out "$work/tiles"
deepsmile-train pretrain "$work/tiles" --preset smoke --out "$work/run"
for size in 64 224; do
    deepsmile-train probe random:resnet18 "$work/run/encoder.pt" --store "$work/tiles" \
        --size "$size" --seeds 2 --out "$work/probe-$size.json"
done
deepsmile-train export-encoder "$work/run/encoder.pt" --name simclr_smoke \
    --store "$work/tiles" --probe "$work/probe-224.json" --out "$work/model_repository"
