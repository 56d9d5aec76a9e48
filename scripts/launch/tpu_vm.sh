#!/usr/bin/env bash
# Runs scripts/ttt.py on all workers of a Cloud TPU VM slice; each worker answers its share of the tasks.
#
#   scripts/launch/tpu_vm.sh [--dry-run] NAME ZONE RESULTS -- OPTIONS OF scripts/ttt.py
#   scripts/launch/tpu_vm.sh my-v5e us-west4-a gs://my-bucket/eval100 -- --config configs/arc/eval100.yaml
#
# Prerequisites:
#   - gcloud, logged in (gcloud auth login), with a project (gcloud config set project ...) that has TPU quota;
#   - the slice NAME in ZONE, made for instance with
#       gcloud compute tpus tpu-vm create my-v5e --zone us-west4-a --accelerator-type v5litepod-16 \
#         --version v2-alpha-tpuv5-lite
#     whose service account may write to RESULTS;
#   - Python 3.11 or 3.12 on its image.
# Starting it again goes on with the run: tasks that have a file in RESULTS are done. Worker 0 merges them into
# runs/ttt on its own disk, and copies that to RESULTS/run at the end.
set -euo pipefail

usage() {
  sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
}

dry_run=false
if [[ "${1:-}" == "--dry-run" ]]; then
  dry_run=true
  shift
fi
[[ $# -ge 4 && "$4" == "--" ]] || usage
name=$1 zone=$2 results=$3
shift 4
[[ "$results" == gs://* ]] || {
  echo "error: RESULTS: $results: workers share no disk; name a folder in a bucket, gs://BUCKET/FOLDER" >&2
  exit 2
}

root=$(cd "$(dirname "$0")/../.." && pwd)
archive=ttt_jax.tar.gz
options=(--hosts.coordinator auto --hosts.results "$results/results" --run-dir runs/ttt "$@")

# What a worker does, as one string with every word quoted.
setup="mkdir -p ttt_jax && tar xzf $archive -C ttt_jax && cd ttt_jax && python3 -m venv .venv"
setup+=" && .venv/bin/pip install --quiet '.[tpu]' gcsfs"
work="cd ttt_jax && .venv/bin/python scripts/ttt.py$(printf ' %q' "${options[@]}")"
work+=" && { [ ! -f runs/ttt/metrics.json ] || gcloud storage cp --recursive runs/ttt $(printf '%q' "$results/run"); }"

run() {
  if $dry_run; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

remote() {
  run gcloud compute tpus tpu-vm "$@" --zone "$zone" --worker all
}

run tar czf "/tmp/$archive" -C "$root" --exclude .git --exclude .venv --exclude runs .
remote scp "/tmp/$archive" "$name:"
remote ssh "$name" --command "$setup"
remote ssh "$name" --command "$work"
