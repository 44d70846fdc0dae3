#!/usr/bin/env bash
# Runs a compiler, and moves what ptxas says of the kernels (-Xptxas=-v) from its standard error to
# OBJECT.resources. tests/lint/check_kernel_resources.py reads that. A launcher of CMake's.
#
#   keep_resources.sh COMPILER ARGUMENT... -o OBJECT
set -uo pipefail

for ((i = 1; i < $#; i++)); do
  if [[ ${!i} == -o ]]; then
    next=$((i + 1))
    report=${!next}.resources
  fi
done
[[ -n ${report-} ]] || exec "$@"

{ said=$("$@" 2>&1 >&3) && status=0 || status=$?; } 3>&1
ptxas='^ptxas info |^ +[0-9]+ bytes stack frame'
grep -E "$ptxas" <<<"$said" >"$report"
grep -vE "$ptxas" <<<"$said" | grep -v '^$' >&2
exit "$status"
