#!/usr/bin/env bash
# Runs scripts/ttt.py on the GPUs of this machine, a process each. Every process answers its share of the tasks and
# compiles all of its programs side by side before the first step.
#
#   scripts/launch/gpus.sh --config configs/arc/eval400.yaml --run-dir runs/eval400
#   scripts/launch/gpus.sh --dry-run --config ... --run-dir ...        prints what would run
#
# Prerequisites:
#   - the repository's root as working directory, and an environment with the package: pip install '.[cuda]';
#   - the GPUs: those of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists.
# PYTHON names the interpreter (default: .venv/bin/python where there is one, else python3).
# The first process writes to the terminal, the others to RUN_DIR.gpuN.log. A process that crashes is started again,
# twice at most, and goes on where it was. Ctrl-C or SIGTERM stops all; the same command goes on.
set -euo pipefail

dry_run=false
if [[ "${1:-}" == "--dry-run" ]]; then
  dry_run=true
  shift
fi
run_dir=
previous=
for word in "$@"; do
  [[ "$previous" == --run-dir || "$previous" == --run_dir ]] && run_dir=$word
  [[ "$word" == --run-dir=* || "$word" == --run_dir=* ]] && run_dir=${word#*=}
  previous=$word
done
[[ -n "$run_dir" ]] || {
  echo "error: --run-dir: name the folder of the run" >&2
  exit 2
}

python=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
visible=${CUDA_VISIBLE_DEVICES:-$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | paste -sd, - || true)}
[[ -n "$visible" ]] || {
  echo "error: no GPU: nvidia-smi lists none, and CUDA_VISIBLE_DEVICES is empty" >&2
  exit 2
}
IFS=, read -ra gpus <<<"$visible"

command_of() { command=("$python" scripts/ttt.py "${@:2}" --hosts.count "${#gpus[@]}" --hosts.index "$1"); }

if $dry_run; then
  for i in "${!gpus[@]}"; do
    command_of "$i" "$@"
    printf '%q ' env "CUDA_VISIBLE_DEVICES=${gpus[$i]}" "${command[@]}"
    echo
  done
  exit 0
fi

# Runs in a subshell of its own: one process, and again where it crashes.
run_one() {
  local i=$1 child='' status=0
  command_of "$@"
  trap 'kill -TERM $child 2>/dev/null || true' TERM
  for attempt in 1 2 3; do
    CUDA_VISIBLE_DEVICES=${gpus[$i]} "${command[@]}" &
    child=$!
    status=0
    wait "$child" || status=$?
    # A signal ends the wait early; what it was passed on to ends by itself.
    while kill -0 "$child" 2>/dev/null; do wait "$child" || status=$?; done
    # 0 and 3: all tasks, or all that could be read. 2: wrong options. 130, 143: asked to stop.
    case $status in
      0 | 3) return "$status" ;;
      2 | 130 | 143) break ;;
    esac
    echo "process $i on GPU ${gpus[$i]} ended with status $status (attempt $attempt of 3)" >&2
  done
  # The first process waits for the shares of all: without this one it would wait for ever.
  kill -TERM $$ 2>/dev/null || true
  return "$status"
}

mkdir -p "$(dirname "$run_dir")"
children=()
for i in "${!gpus[@]}"; do
  if ((i == 0)); then
    run_one "$i" "$@" &
  else
    run_one "$i" "$@" >"$run_dir.gpu$i.log" 2>&1 &
  fi
  children+=($!)
done
# shellcheck disable=SC2329  # the trap below calls it
stop() { kill -TERM "${children[@]}" 2>/dev/null || true; }
trap stop TERM INT

worst=0
for i in "${!children[@]}"; do
  status=0
  wait "${children[$i]}" || status=$?
  while kill -0 "${children[$i]}" 2>/dev/null; do wait "${children[$i]}" || status=$?; done
  worst=$((status > worst ? status : worst))
done
exit "$worst"
