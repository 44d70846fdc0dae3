#!/usr/bin/env bash
# Runs the tests that need a GPU (CTest's label gpu) and ends with a table of them.
# Fails where one fails, ends early or passes nothing: on a machine without a device, say.
#
#   gpu_test.sh [OPTION...] [PROGRAM...]     default: every program of the label
#
#   --from FOLDER   the build folder (default build/cuda), or an unpacked archive of --pack
#   --pack FILE     instead of running: one .tar.xz of the programs, the libraries that they need
#                   beside the C and C++ runtimes and the driver, what they read, and this script.
#                   Elsewhere:  mkdir t && tar xf FILE -C t && t/gpu_test.sh
#                   Those that drive a node (end_to_end/) need a python3 with grpcio and protobuf.
#   --sanitize      instead of running plainly: the kernel tests under compute-sanitizer's memcheck,
#                   racecheck and synccheck; of racecheck, large sizes are left out
#   --tools LIST    of these only, as memcheck,racecheck
#   --jobs N        how many programs at once (default: as there are processors, at most 16)
#   --limit S       seconds that one program may take (default 300)
#   --logs FOLDER   where what they print goes (default: a new folder under /tmp)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$@" && exit 2; }

from="" pack="" sanitize="" logs="" jobs="" limit=300
tools=memcheck,racecheck,synccheck
wanted=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    --sanitize) sanitize=yes && shift && continue ;;
    --from | --pack | --tools | --jobs | --limit | --logs)
      [[ $# -gt 1 ]] || fail "$1 needs a value"
      declare "${1#--}=$2" && shift 2 && continue ;;
    -*) fail "unknown option '$1'; --help lists them" ;;
  esac
  wanted+=("$1") && shift
done

# programs: name -> path, of an executable file or a Python test that drives `node` of the build.
declare -A programs
node=node/switchyard-node
protos=tests/end_to_end/protos.bin
if [[ -z $from ]]; then
  if [[ -d $here/programs ]]; then from=$here; else from=$here/../build/cuda; fi
fi
[[ -d $from ]] || fail "no folder $from"
from=$(cd "$from" && pwd)
if [[ -d $from/programs ]]; then  # an unpacked archive
  for path in "$from"/programs/* "$from"/tests/end_to_end/gpu_*_test.py; do
    [[ ! -f $path ]] || programs[$(basename "$path" .py)]=$path
  done
  export LD_LIBRARY_PATH=$from/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export SWITCHYARD_SOURCE_DIR=$from
else
  while read -r name path; do programs[$name]=$path; done < <(
    ctest --test-dir "$from" --label-regex '^gpu$' --show-only=json-v1 |
      python3 -c 'import json, sys
for test in json.load(sys.stdin)["tests"]:
    command = test.get("command") or [""]
    print(test["name"], command[-1] if command[-1].endswith(".py") else command[0])')
fi
[[ ${#wanted[@]} -gt 0 ]] || mapfile -t wanted < <(printf '%s\n' "${!programs[@]}" | sort)
[[ ${#wanted[@]} -gt 0 ]] || fail "$from has no test with the label gpu"
python=
for name in "${wanted[@]}"; do
  if [[ ${programs[$name]:-} == *.py ]]; then
    [[ -x $from/$node && -f $from/$protos ]] ||
      fail "$name needs $node and $protos; cmake --build $from --target all builds them"
    python=needed
  else
    [[ -n ${programs[$name]:-} && -x ${programs[$name]} ]] ||
      fail "$name is not built; cmake --build $from --target $name builds it"
  fi
done

if [[ -n $pack ]]; then
  box=$(mktemp -d)
  trap 'rm -rf "$box"' EXIT
  mkdir -p "$box/programs" "$box/lib" "$box/tests/fixtures" "$box/deploy"
  cp "$here/gpu_test.sh" "$box/"
  cp -r "$here/../tests/fixtures/models" "$box/tests/fixtures/"
  cp -r "$here/demo-model" "$box/deploy/"
  if [[ -n $python ]]; then
    mkdir -p "$box/${node%/*}" "$box/${protos%/*}"
    cp "$here"/../tests/end_to_end/{api,node_process,gpu_*_test}.py "$from/$protos" "$box/${protos%/*}/"
  fi
  for name in "${wanted[@]}"; do
    path=${programs[$name]} packed=programs/$name
    [[ $path != *.py ]] || path=$from/$node packed=$node
    strip -o "$box/$packed" "$path"
    # "libhwy.so.1 => /lib/.../libhwy.so.1 (0x...)"
    ldd "$path" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
  done | sort -u | while read -r library; do
    case ${library##*/} in
      libc.so.* | libm.so.* | libdl.so.* | librt.so.* | libpthread.so.* | ld-linux*) ;;
      libstdc++.so.* | libgcc_s.so.* | libcuda*) ;;
      *) cp -L "$library" "$box/lib/" ;;
    esac
  done
  tar -C "$box" -c . | xz -T1 --lzma2=preset=0,dict=128MiB > "$pack"  # they share most bytes
  say "$pack: ${#wanted[@]} programs, $(stat -c %s "$pack") bytes"
  exit 0
fi

if [[ -n $python && -z $sanitize ]]; then
  for python in python3 /usr/bin/python3 ''; do
    [[ -n $python ]] || fail "no python3 here has grpc and google.protobuf, which a Python test needs"
    ! "$python" -c 'import grpc, google.protobuf' 2> /dev/null || break
  done
  export SWITCHYARD_BUILD_DIR=$from
fi

[[ -n $logs ]] || logs=$(mktemp -d /tmp/gpu_test.XXXXXX)
mkdir -p "$logs"

# What racecheck leaves out: it makes a kernel that uses shared memory hundreds of times slower, and
# these repeat at large sizes what the other tests of the program show at small ones.
racecheck_filter() {  # PROGRAM
  case $1 in
    gpu_attention_test) echo '-*SplitsLongRows' ;;
    gpu_conv_finish_test) echo '-*InChunksAndInBatches' ;;
    gpu_linear_test) echo '-*MatchesTheReference' ;;
    gpu_sample_test) echo '-*DrawsWhatTheCpuDraws' ;;
    *) echo '*' ;;
  esac
}
racecheck_multiplications=2000000

# One program, and a line for the table in LOG.row.
run_one() {  # NAME [TOOL]
  local name=$1 tool=${2:-} log=$logs/$1${2:+.$2} began=$EPOCHREALTIME status=0 errors=
  if [[ ${programs[$name]} == *.py ]]; then
    timeout "$limit" "$python" -B "${programs[$name]}" > "$log" 2>&1 || status=$?
  elif [[ -z $tool ]]; then
    timeout "$limit" "${programs[$name]}" > "$log" 2>&1 || status=$?
  else
    local filter='*'
    if [[ $tool == racecheck ]]; then
      filter=$(racecheck_filter "$name")
      export SWITCHYARD_TEST_MULTIPLICATIONS=$racecheck_multiplications
    fi
    timeout "$limit" compute-sanitizer --tool "$tool" --error-exitcode 9 "${programs[$name]}" \
      --gtest_filter="$filter" > "$log" 2>&1 || status=$?
    errors=$(grep -o 'SUMMARY: .*' "$log" | grep -o '[0-9]* error' | head -1 | cut -d' ' -f1) ||
      errors='?'
  fi
  local seconds ran passed skipped failed
  seconds=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }")
  ran=$(sed -n 's/^\[==========\] \([0-9]*\) tests\{0,1\} from .* ran.*/\1/p' "$log")
  passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -1)
  skipped=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*, listed below.*/\1/p' "$log" | tail -1)
  failed=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*, listed below.*/\1/p' "$log" | tail -1)
  if [[ ${programs[$name]} == *.py ]]; then
    ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' "$log")
    failed=$(grep -cE '^(FAIL|ERROR): ' "$log") || true
    passed=$((${ran:-0} - failed))
  fi
  # gtest counts a skipped test as ran; a program that died never came to say what ran.
  local note=ok
  [[ $status -eq 0 ]] || note="exit $status"
  [[ $status -ne 124 ]] || note=timeout
  [[ -n $ran ]] || note="$note, ended early"
  [[ -z $tool || $errors == 0 ]] || note="$note, $errors errors of $tool"
  printf '%-28s %-10s %7d %7d %8d %9.1f  %s\n' "$name" "${tool:-plain}" "${passed:-0}" \
    "${failed:-0}" "${skipped:-0}" "$seconds" "$note" > "$log.row"
  [[ $note == ok ]] || {
    printf '=== %s %s: %s\n' "$name" "$tool" "$note"
    grep -E -A12 \
      'Failure$|^(FAIL|ERROR): |^=========.*(Error|Invalid|hazard|[Bb]arrier)|CHECK\(|CUDA_CHECK|terminate' \
      "$log" | head -60 || true
    grep -E '^\[  FAILED  \]|SUMMARY' "$log" | sort -u | head -20 || true
    tail -3 "$log"
  }
}

printf 'logs: %s\n' "$logs"
if command -v nvidia-smi > /dev/null; then
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
fi
[[ -n $jobs ]] || jobs=$(nproc) && jobs=$((jobs > 16 ? 16 : jobs))
if [[ -n $sanitize ]]; then
  command -v compute-sanitizer > /dev/null || fail "no compute-sanitizer here"
else
  tools=plain
fi
for tool in ${tools//,/ }; do
  for name in "${wanted[@]}"; do
    case $tool-$name in
      plain-*) ;;
      *-gpu_model_test | *-gpu_demo_test | *-gpu_serving_test)
        continue ;;  # the same kernels, many times over
    esac
    while [[ $(jobs -rp | wc -l) -ge $jobs ]]; do wait -n || true; done
    run_one "$name" "${tool#plain}" > "$logs/$name.$tool.told" &
  done
done
wait
cat "$logs"/*.told

printf '\n%-28s %-10s %7s %7s %8s %9s\n' program under passed failed skipped seconds
cat "$logs"/*.row
[[ $(cat "$logs"/*.row | awk '{ sum += $3 } END { print sum + 0 }') -gt 0 ]] ||
  fail "nothing passed: is there a device?"
! grep -vq '  ok$' "$logs"/*.row
