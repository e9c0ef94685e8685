#!/bin/sh
# The demo bundle from nothing: paint 276 slides, train the encoder and two heads, calibrate,
# evaluate, seal. About a quarter of an hour on two cores, no GPU, no download, 1 GB of disk
# under deepsmile-data/. The same seed on the same machine gives the same digest.
#
#   pip install -e '.[cpu,train]'
#   training/runs/demo_bundle.sh            the full size
#   training/runs/demo_bundle.sh --smoke    12 slides in a minute; works, but has no skill
set -eu
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=passive  # idle threads sleep instead of taking cores from other work

# model_repository/demo.bundle.json, demo.card.md, and three models
deepsmile-train demo-bundle --out model_repository --slides 240 --seed 2026 --threads 2 "$@"

# the two small slides that `deepsmile demo` scores, from seeds that no model has seen
deepsmile-train demo-slides --out services/deepsmile/demo --seed 2026
