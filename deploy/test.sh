#!/usr/bin/env bash
# Installs what the tests need, builds, and runs all of them; ends with ctest's summary.
# The first preset that fails ends it, so the last summary always tells the outcome.
#
#   test.sh [PRESET...]     default: tsan dev release
#
#   tsan      thread sanitizer over the tests in which threads meet
#   dev       address and undefined-behaviour sanitizers over everything but the tests of
#             whole programs
#   release   every test, with the programs as they are served; with nvcc, the CUDA backend too, and
#             where a GPU answers, the tests on it
set -euo pipefail
cd "$(dirname "$0")/.."

# Where threads meet: queue, thread pool, reading ahead, engine loop, the node's services, the
# client's calls.
tsan_tests=(base_test kernels_thread_pool_test weights_test engine_life_test node_unit_test
            node_services_test node_port_test node_security_test client_call_test client_cli_test
            client_interrupt_test client_load_driver_test load_scrape_test)

presets=("$@")
[[ $# -gt 0 ]] || presets=(tsan dev release)
for preset in "${presets[@]}"; do
  case $preset in
    tsan | dev | release) ;;
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    *) echo "test.sh: unknown preset '$preset'; --help lists them" >&2 && exit 2 ;;
  esac
done

deploy/install_dependencies.sh test
deploy/install_manifest_tools.sh

for preset in "${presets[@]}"; do
  printf '\n=== %s: build\n' "$preset"
  case $preset in
    tsan)
      targets=("${tsan_tests[@]}")
      selection=(--tests-regex "^($(IFS='|' && echo "${tsan_tests[*]}"))\$")
      ;;
    dev)
      targets=(all)
      selection=(--exclude-regex '^(end_to_end_|check_|deploy_)')
      ;;
    release)
      targets=(all)
      selection=()
      nvidia-smi >/dev/null 2>&1 || selection=(--label-exclude '^gpu$')
      ;;
  esac
  cmake --preset "$preset" -D SWITCHYARD_CUDA=AUTO
  cmake --build --preset "$preset" --target "${targets[@]}"
  printf '\n=== %s: test\n' "$preset"
  ctest --preset "$preset" --parallel "$(nproc)" --no-tests=error "${selection[@]}"
done
