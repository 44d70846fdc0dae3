#!/usr/bin/env bash
# Compiles the CUDA kernels for every architecture that they support, and lists what each kernel
# takes there: registers, shared memory, stack, spills; also in build/architectures/resources.txt.
# Needs nvcc, no device. About 12 minutes of one core.
#
#   build_architectures.sh [ARCHITECTURE...]     default: 80 86 89 90a 120
set -euo pipefail
cd "$(dirname "$0")/.."

architectures=("$@")
[[ $# -gt 0 ]] || architectures=(80 86 89 90a 120)
for architecture in "${architectures[@]}"; do
  case $architecture in
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    [0-9]*) ;;
    *) echo "build_architectures.sh: unknown argument '$architecture'; --help lists them" >&2 && exit 2 ;;
  esac
done

build=build/architectures
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSWITCHYARD_CUDA=ON -DSWITCHYARD_TESTS=OFF \
  -DCMAKE_CUDA_ARCHITECTURES="$(printf '%s-real;' "${architectures[@]}" | sed 's/;$//')"
cmake --build "$build" --target switchyard_kernels_cuda
python3 tests/lint/check_kernel_resources.py "$build" --list | tee "$build/resources.txt"
