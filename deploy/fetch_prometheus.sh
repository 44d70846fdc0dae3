#!/usr/bin/env bash
# Unpacks the distribution's package `prometheus` (prometheus and promtool) under
# build/tools/prometheus, where tests look for it before they look in PATH. It is not installed:
# the package would start a service that nobody who runs tests asked for. Needs apt and the network
# the first time, never root.
#
#   fetch_prometheus.sh [--check]
#
#   --check   fetch nothing; exit 1 if it is neither there nor in PATH
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/build/tools
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

case ${1-} in
  '') ;;
  --check) ;;
  --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
  *) say "unknown argument '$1'; --help lists them" && exit 2 ;;
esac

works() { "$1/promtool" --version >/dev/null 2>&1 && "$1/prometheus" --version >/dev/null 2>&1; }
works "$tools/prometheus/usr/bin" && exit 0
in_path=$(command -v promtool || true)
[[ $in_path ]] && works "${in_path%/*}" && exit 0
[[ ${1-} == --check ]] && exit 1

if ! command -v apt-get >/dev/null; then
  say "this system has no apt; put prometheus and promtool (2.42 or later) in PATH"
  exit 1
fi

mkdir -p "$tools"
work=$(mktemp -d "$tools/fetching.XXXXXX")
trap 'rm -rf "$work"' EXIT

# apt checks the package against the signed lists. Where the system's lists are missing, as in a
# fresh container, or name a package that is no longer there, lists of our own are fetched: those
# of the system are root's.
own_lists=(-o "Dir::State=$work/state" -o Dir::State::status=/var/lib/dpkg/status
           -o "Dir::Cache=$work/cache")
options=(-qq -o APT::Sandbox::User=root)
download() { (cd "$work" && apt-get "${options[@]}" "$@" download prometheus); }
if ! download >"$work/log" 2>&1; then
  mkdir -p "$work"/state/lists/partial "$work"/cache/archives/partial
  if ! { apt-get "${options[@]}" "${own_lists[@]}" update && download "${own_lists[@]}"; } \
    >>"$work/log" 2>&1; then
    cat "$work/log" >&2
    say "apt could not fetch the package prometheus"
    exit 1
  fi
fi

dpkg-deb --extract "$work"/prometheus_*.deb "$work/unpacked"
if ! works "$work/unpacked/usr/bin"; then
  say "the package prometheus holds no program that runs here"
  exit 1
fi
rm -rf "$tools/prometheus"
mv "$work/unpacked" "$tools/prometheus"
say "unpacked $("$tools/prometheus/usr/bin/promtool" --version 2>&1 | head -n 1)"
