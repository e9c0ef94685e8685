#!/bin/sh
# The demo bundle from nothing: paint 276 slides, train the encoder and two heads, calibrate,
# evaluate, seal. About twenty minutes on two cores, no GPU, no download, 1 GB of disk
# under deepsmile-data/. The same seed on the same machine gives the same digest.
#
#   python3 -m venv .venv && .venv/bin/pip install -e '.[cpu,train]'
#   training/runs/demo_bundle.sh
#
# To see it run in a minute, with a bundle that works but has no skill, kept apart from the real:
#   training/runs/demo_bundle.sh --smoke --out deepsmile-data/smoke
set -eu
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"

# the two small slides that `deepsmile demo` scores, from seeds that no model has seen
deepsmile-train demo-slides --out services/deepsmile/demo --seed 2026

# demo.bundle.json, demo.card.md, and three models
deepsmile-train demo-bundle --out model_repository --slides 240 --seed 2026 --threads 2 "$@"
