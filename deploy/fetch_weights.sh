#!/usr/bin/env bash
# Downloads a model's files into a folder and verifies each by its SHA-256. Goes on where it was
# interrupted; with everything there and verified it touches no network. A node may read the folder
# as soon as it has the stamp `.complete`, which names the list that was verified.
#
#   fetch_weights.sh --url URL --sums FILE --to FOLDER    URL/NAME for each NAME of the list
#   fetch_weights.sh --wait --sums FILE --to FOLDER       only wait until somebody else has done that
#
#   --sums FILE      lines as sha256sum prints them, "SUM  NAME"; "#" begins a comment
#   --token FILE     sends its content as a bearer token
#   --wait-limit S   how long --wait waits (default 3600)
#
# Exit: 0 complete, 1 a file is wrong or did not come (run it again), 2 the command line or list is.
set -euo pipefail

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$@" && exit 2; }

url="" sums="" to="" token="" wait="" wait_limit=3600
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    --wait) wait=yes && shift ;;
    --url | --sums | --to | --token | --wait-limit)
      [[ $# -gt 1 ]] || fail "$1 needs a value"
      name=${1#--} && declare "${name//-/_}=$2" && shift 2 ;;
    *) fail "unknown argument '$1'; --help lists them" ;;
  esac
done
[[ $sums && $to ]] || fail "--sums and --to are required; --help tells more"
[[ $wait || $url ]] || fail "--url is required, without --wait"
[[ -z $token || $url == https://* || $url == http://127.0.0.1:* ]] || fail "--token: only over https"
[[ -r $sums ]] || fail "--sums: cannot read $sums"
[[ $wait_limit =~ ^[0-9]+$ ]] || fail "--wait-limit: '$wait_limit' is no number of seconds"

# The list without comments. Its own sum names it: another list is another model.
list=$(sed -E 's/[[:space:]]*#.*//; /^$/d' "$sums")
[[ $list ]] || fail "--sums: $sums names no file"
while read -r sum name; do
  [[ $sum =~ ^[0-9a-f]{64}$ ]] || fail "--sums: '$sum' is no SHA-256"
  # Names are put into paths and addresses.
  [[ $name =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] || fail "--sums: '$name' is no plain file name"
done <<< "$list"
stamp=$(sha256sum <<< "$list" | cut -d ' ' -f 1)

complete() { [[ $(cat "$to/.complete" 2> /dev/null) == "$stamp" ]]; }

if [[ $wait ]]; then
  for ((waited = 0; waited < wait_limit; waited += 2)); do
    complete && exit 0
    ((waited % 60 != 0)) || say "waiting for $to to be complete"
    sleep 2
  done
  say "$to is not complete after $wait_limit s" && exit 1
fi

complete && say "$to is complete" && exit 0
mkdir -p "$to"
rm -f "$to/.complete"  # not while files change
options=(--silent --show-error --fail --location --proto '=https,http' --proto-redir '=https'
         --connect-timeout 30 --speed-limit 1024 --speed-time 60 --retry 5 --retry-connrefused --retry-max-time 300)
verified() { sha256sum --check --status - <<< "$1  $2" 2> /dev/null; }
download() {  # NAME OPTION...; the token goes by standard input, since others can read a command line
  local name=$1
  shift
  { [[ -z $token ]] || printf 'header = "Authorization: Bearer %s"\n' "$(tr -cd '[:alnum:]._~+/=-' < "$token")"; } |
    curl --config - "${options[@]}" "$@" --output "$to/$name.part" "$url/$name"
}

while read -r sum name; do
  part=$to/$name.part
  if [[ -f $to/$name ]] && verified "$sum" "$to/$name"; then
    say "$name is there"
    continue
  fi
  if [[ -f $part ]] && ! verified "$sum" "$part"; then
    say "continuing $name"
    status=0
    download "$name" --continue-at - || status=$?
    case $status in
      0 | 22 | 33) ;;  # done; refused by the server, such as a part that is too long; cannot continue
      *) exit 1 ;;     # the network: what is there stays for the next run
    esac
    verified "$sum" "$part" || rm -f "$part"  # it was no beginning of that file
  fi
  if [[ ! -f $part ]]; then
    say "downloading $name"
    download "$name" || exit 1
  fi
  if ! verified "$sum" "$part"; then
    say "$name: what $url sends has another SHA-256 than $sum"
    rm -f "$part"
    exit 1
  fi
  mv "$part" "$to/$name"
done <<< "$list"
printf '%s\n' "$stamp" > "$to/.complete.part"
mv "$to/.complete.part" "$to/.complete"
say "$to is complete"
