#!/usr/bin/env bash
# Runs scripts/ttt.py on a TPU slice of a Kubernetes cluster, as a JobSet; each host answers its share of the tasks.
#
#   scripts/launch/tpu_gke.sh [--dry-run] NAME ACCELERATOR TOPOLOGY IMAGE RESULTS -- OPTIONS OF scripts/ttt.py
#   scripts/launch/tpu_gke.sh eval100 tpu-v5-lite-podslice 4x4 REGION-docker.pkg.dev/PROJECT/ttt/ttt:1 \
#     gs://my-bucket/eval100 -- --config configs/arc/eval100.yaml
#
# Prerequisites:
#   - kubectl with the cluster as its context, and the JobSet controller in the cluster (jobset.sigs.k8s.io);
#   - a node pool of this ACCELERATOR and TOPOLOGY (tpu-v5-lite-podslice, tpu-v5p-slice, tpu-v6e-slice, tpu-v4-podslice);
#   - an IMAGE with the repository at /ttt_jax, and in it python with the package and gcsfs:
#       FROM python:3.12
#       COPY . /ttt_jax
#       RUN pip install '/ttt_jax[tpu]' gcsfs
#   - a Kubernetes service account that may write to RESULTS (SERVICE_ACCOUNT, default "default").
# CHIPS (default 4) is the number of chips a host has. The first host leaves the run directory in RESULTS/run.
set -euo pipefail

usage() {
  sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
}

dry_run=false
if [[ "${1:-}" == "--dry-run" ]]; then
  dry_run=true
  shift
fi
[[ $# -ge 6 && "$6" == "--" ]] || usage
export NAME=$1 ACCELERATOR=$2 TOPOLOGY=$3 IMAGE=$4
results=$5
shift 6
[[ "$results" == gs://* ]] || {
  echo "error: RESULTS: $results: pods share no disk; name a folder in a bucket, gs://BUCKET/FOLDER" >&2
  exit 2
}
[[ "$TOPOLOGY" =~ ^[0-9]+(x[0-9]+){1,2}$ ]] || {
  echo "error: TOPOLOGY: $TOPOLOGY: expected chips along each axis, such as 4x4 or 2x2x2" >&2
  exit 2
}

export CHIPS=${CHIPS:-4} SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}
HOSTS=$((${TOPOLOGY//x/*} / CHIPS))
[[ $HOSTS -ge 1 ]] || {
  echo "error: CHIPS: $CHIPS a host are more than the slice $TOPOLOGY has" >&2
  exit 2
}
export HOSTS

options=(--hosts.coordinator auto --hosts.results "$results/results" --run-dir "/tmp/ttt" "$@")
COMMAND="cd /ttt_jax && python scripts/ttt.py$(printf ' %q' "${options[@]}")"
copy="import fsspec, sys; fsspec.filesystem('gs').put('/tmp/ttt', sys.argv[1], recursive=True)"
COMMAND+=" && if [ -f /tmp/ttt/metrics.json ]; then python -c $(printf '%q' "$copy") $(printf '%q' "$results/run"); fi"
# Into a YAML string in double quotes.
COMMAND=${COMMAND//\\/\\\\}
COMMAND=${COMMAND//\"/\\\"}
export COMMAND

template=$(cat "$(dirname "$0")/tpu_gke.yaml")
for variable in NAME HOSTS SERVICE_ACCOUNT ACCELERATOR TOPOLOGY IMAGE CHIPS COMMAND; do
  template=${template//"\${$variable}"/"${!variable}"}
done

if $dry_run; then
  echo "$template"
else
  kubectl apply --filename - <<<"$template"
fi
