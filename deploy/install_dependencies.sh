#!/usr/bin/env bash
# Installs, with apt, the packages that Switchyard needs and that are missing. Debian 12 or later,
# Ubuntu 24.04 or later. This is the one list of them. With nothing missing it touches neither apt
# nor the network. It never removes, upgrades or configures anything.
#
#   install_dependencies.sh [--check] [GROUP...]
#
#   GROUP    build    to compile the programs (the default)
#            test     to compile and run the tests; fetches prometheus too, without installing it
#            explore  clang with its sanitizers and clang-tidy, for the preset `lint`
#   --check  list what is missing, install nothing; exit 1 if anything is
set -euo pipefail

build=(
  g++ cmake ninja-build pkg-config
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler  # the API
  prometheus-cpp-dev libspdlog-dev                                        # metrics, log
  libcli11-dev nlohmann-json3-dev                                         # flags, configuration
  libssl-dev                                                              # TLS, tokens
  libboost-dev                                                            # HTTP, statistics (headers only)
  libpcre2-dev libutf8proc-dev                                            # tokenizer
  libhwy-dev                                                              # CPU kernels
  curl                                                                    # quickstart reads /metrics
)
run_tests=(
  libgtest-dev libgmock-dev
  python3-venv                             # install_manifest_tools.sh
  python3 python3-grpcio python3-protobuf  # the end-to-end tests drive programs from Python
  openssl python3-yaml                     # they make certificates, and read rules and manifests
  clang-format-14                          # the version that the format is pinned to
)
explore=(clang clang-tidy libclang-rt-dev)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
}

only_check=
groups=()
for argument in "$@"; do
  case $argument in
    --check) only_check=yes ;;
    --help | -h) usage && exit 0 ;;
    build | test | explore) groups+=("$argument") ;;
    *) say "unknown argument '$argument'" && usage >&2 && exit 2 ;;
  esac
done

fetch=(true)  # what tests run but nobody may want installed
wanted=()
for group in "${groups[@]:-build}"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${build[@]}" "${run_tests[@]}") ;;
    explore) wanted+=("${build[@]}" "${run_tests[@]}" "${explore[@]}") ;;
  esac
  [[ $group == build ]] || fetch=("$(dirname "$0")/fetch_prometheus.sh")
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "this system has no apt; on Debian 12 or Ubuntu 24.04 the packages are:" "${wanted[@]}"
  exit 1
fi

missing=()
while read -r package; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done < <(printf '%s\n' "${wanted[@]}" | sort -u)

if [[ ${#missing[@]} -eq 0 ]]; then
  say "all $(printf '%s\n' "${wanted[@]}" | sort -u | wc -l) packages are installed"
fi
if [[ $only_check ]]; then
  "${fetch[@]}" --check || missing+=("prometheus (fetched, not installed)")
  [[ ${#missing[@]} -eq 0 ]] || printf '%s\n' "${missing[@]}"
  exit $((${#missing[@]} > 0))
fi
[[ ${#missing[@]} -gt 0 ]] || exec "${fetch[@]}"

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    say "missing: ${missing[*]}"
    say "installing them needs root, and there is no sudo: as root, run apt-get install ${missing[*]}"
    exit 1
  fi
  as_root=(sudo)
fi

say "installing ${#missing[@]} packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
"${fetch[@]}"
