#!/usr/bin/env bash
# Packs the programs and the shared libraries that they need into one archive, which runs wherever
# it is unpacked: on the same or a newer glibc, with nothing installed. With the CUDA backend in it,
# the driver has to be there. Does not build anything: cmake --build comes first.
#
#   bundle.sh [OPTION...]
#
#   --build FOLDER   the build that it packs (default build/release)
#   --output FILE    default: FOLDER/switchyard-VERSION-linux-MACHINE[-cuda].tar.gz
#   --tree FOLDER    instead of an archive, a new folder with what would be in it
#
# C and C++ runtimes: what belongs to glibc (libc, libm, the loader, ...) must match the kernel, the
# loader and the name service of the machine, so that it is never packed. libstdc++ and libgcc_s are
# packed: minimal images lack them, and an older distribution's may lack symbols of ours. The driver
# (libcuda, ...) belongs to the machine too.
#
# The same build gives the same bytes; SOURCE_DATE_EPOCH dates the files (default: the last commit).
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$@" && exit 2; }

build=build/release output="" tree=""
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    --build | --output | --tree)
      [[ $# -gt 1 ]] || fail "$1 needs a value"
      declare "${1#--}=$2" && shift 2 ;;
    *) fail "unknown argument '$1'; --help lists them" ;;
  esac
done
[[ -z $output || -z $tree ]] || fail "--output and --tree exclude each other"
[[ -z $tree || ! -e $tree ]] || fail "$tree is there already"
[[ -d $build ]] || build=$source/$build
for program in node/switchyard-node client/switchyard; do
  [[ -x $build/$program ]] ||
    fail "no $build/$program; cmake --build $build --target ${program##*/} builds it"
done
! ldd "$build/node/switchyard-node" "$build/client/switchyard" | grep -E 'not found|lib[at]san|libubsan' >&2 ||
  fail "$build misses libraries, or has sanitizers, which do not belong into a bundle"

box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
version=$("$build/node/switchyard-node" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+')
cuda=""
# Kernels for GPUs lie in a section of their own.
! readelf --section-headers --wide "$build/node/switchyard-node" | grep -qF .nv_fatbin || cuda=-cuda
name=switchyard-$version-linux-$(uname -m)$cuda
top=$box/$name
mkdir -p "$top/lib" "$top/licenses"
cmake --install "$build" --prefix "$top" --strip > /dev/null
cp -r "$source/LICENSE" "$source/deploy/configs/node.toml" "$source/deploy/systemd" "$top/"

# "libhwy.so.1 => /lib/x86_64-linux-gnu/libhwy.so.1 (0x...)"
mapfile -t libraries < <(ldd "$build/node/switchyard-node" "$build/client/switchyard" |
  awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | LC_ALL=C sort -u |
  grep -vE '/(ld-linux.*|lib(c|m|mvec|dl|rt|pthread|resolv|anl|util)\.so\..*|libnss_.*|libcuda\.so.*|libnvidia-.*)$')
cp -L "${libraries[@]}" "$top/lib/"

# Which packages they come from, where dpkg knows: licences ask for their notices, and whoever looks
# for known flaws wants their versions. dpkg may know only one of a file's names.
declare -A package_of
while IFS=' ' read -r package path; do
  package_of[${path##*/}]=${package%%:*}
done < <(for library in "${libraries[@]}"; do printf '%s\n' "$library" "$(readlink -f "$library")"; done |
  sort -u | xargs dpkg-query --search 2> /dev/null || true)
for library in "${libraries[@]}"; do
  real=$(readlink -f "$library")
  package=${package_of[${library##*/}]:-${package_of[${real##*/}]:-}}
  printf '%s %s\n' "${library##*/}" "$package"
done > "$box/of"
# shellcheck disable=SC2016  # dpkg-query's own variables
cut -d ' ' -f 2 "$box/of" | grep . | sort -u |
  xargs -r dpkg-query --show --showformat='${Package} ${Version}\n' 2> /dev/null | sort -u > "$box/versions" || true
awk 'NR == FNR { version[$1] = $2; next } { print $1, $2 ? $2 " " version[$2] : "of no package" }' \
  "$box/versions" "$box/of" > "$top/LIBRARIES"
cut -d ' ' -f 2 "$box/of" | sort -u | while read -r package; do
  [[ $package ]] || continue
  cp -L "/usr/share/doc/$package/copyright" "$top/licenses/$package"
done
chmod -R u=rwX,go=rX "$top"

# The newest version of glibc's symbols that anything in it asks for.
glibc=$(find "$top/bin" "$top/lib" -type f -exec readelf --version-info --wide {} + 2> /dev/null |
  grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1)
cat > "$top/README" <<TEXT
Switchyard $version for $(uname -m)${cuda:+, with the CUDA backend}. Runs from this folder, on glibc ${glibc#GLIBC_} or newer:

    bin/switchyard-node serve --model FOLDER
    bin/switchyard chat

node.toml lists every flag of the node; systemd/ has a unit for it. LIBRARIES says what lib/ is made of; licenses/ has the notices.
TEXT

if [[ $tree ]]; then
  mkdir -p "$(dirname "$tree")"
  mv "$top" "$tree"
  say "$tree: $(wc -l < "$tree/LIBRARIES") libraries, $(du -sb "$tree" | cut -f 1) bytes, needs glibc ${glibc#GLIBC_}"
  exit 0
fi
date=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2> /dev/null || echo 0)}
output=${output:-$build/$name.tar.gz}
tar --create --directory "$box" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner \
  --mtime="@$date" "$name" | gzip --no-name > "$output.part"
mv "$output.part" "$output"
say "$(wc -l < "$top/LIBRARIES") libraries, $(du -sb "$top" | cut -f 1) bytes unpacked, needs glibc ${glibc#GLIBC_}"
say "$output: $(stat -c %s "$output") bytes, sha256 $(sha256sum "$output" | cut -d ' ' -f 1)"
