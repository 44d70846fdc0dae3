#!/usr/bin/env bash
# Every C++ file is as clang-format 14 leaves it.
set -euo pipefail
cd "$(dirname "$0")/../.."
git ls-files -co --exclude-standard '*.h' '*.cc' '*.cu' '*.cuh' | while read -r file; do [[ -f $file ]] && printf '%s\0' "$file"; done |
  xargs -0 "${1:-clang-format-14}" --dry-run -Werror
