#!/usr/bin/env bash
# One training launcher on each of several machines that share nothing but storage (docs/scale.md, Clusters).
#
#   first machine:  R1_LAUNCH_PREFIX="bash recipes/cluster/everywhere.sh" …; r1 run STAGE; bash recipes/cluster/everywhere.sh --done
#   the others:     bash recipes/cluster/everywhere.sh --join
#
# R1_MEETING is a folder on that storage, a fresh one for each job. The first machine writes down each launcher that the stage
# starts and runs it; the others run the same, in order, until it says that it is done. Where one of theirs fails, they fail.
set -euo pipefail
meeting=${R1_MEETING:?is not set: name a fresh folder on storage that all machines share}
mkdir -p "$meeting"

case ${1:?is missing: --join, --done, or the launcher that a stage starts} in
  --done)
    touch "$meeting/done"
    ;;
  --join)
    number=1
    while true; do
      until [ -e "$meeting/$number" ]; do
        [ ! -e "$meeting/done" ] || exit 0
        sleep 1
      done
      mapfile -d '' -t command < "$meeting/$number"
      "${command[@]}"
      number=$((number + 1))
    done
    ;;
  *)
    number=1
    while [ -e "$meeting/$number" ]; do number=$((number + 1)); done
    printf '%s\0' "$@" > "$meeting/.$number"
    mv "$meeting/.$number" "$meeting/$number"
    exec "$@"
    ;;
esac
