#!/usr/bin/env bash
# From a fresh checkout to a conversation: installs what is missing, builds the programs, starts a
# node on the demo model, asks it three questions, shows its metrics, stops it.
# Not a way to run a node for others: deploy/README.md.
#
#   quickstart.sh [--keep]
#
#   --keep  leave the node running, and say how to talk to it and how to stop it
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n%s\n' "$*"; }
fail() {
  printf 'quickstart: %s\n' "$*" >&2
  exit 1
}

keep=
for argument in "$@"; do
  case $argument in
    --keep) keep=yes ;;
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    *) fail "unknown argument '$argument'; --help lists them" ;;
  esac
done

deploy/install_dependencies.sh build
# Kernels for a GPU take minutes to compile: only for one that is there.
nvidia-smi >/dev/null 2>&1 && cuda=AUTO || cuda=OFF
[[ -f build/release/build.ninja ]] || cmake --preset release -D SWITCHYARD_CUDA="$cuda"
cmake --build --preset release --target switchyard-node switchyard

node=build/release/node/switchyard-node
client=build/release/client/switchyard
log=$(mktemp --suffix=.log -t switchyard-node.XXXXXX)
ready=$(mktemp -t switchyard-ready.XXXXXX)

"$node" serve --model deploy/demo-model \
  --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --admin 127.0.0.1:0 >"$ready" 2>"$log" &
node_pid=$!

show_log() {
  printf 'quickstart: the end of its log, %s:\n' "$log" >&2
  tail -n 20 "$log" >&2
}
stop_node() {
  if kill -TERM "$node_pid" 2>/dev/null; then wait "$node_pid" || true; fi
  rm -f "$ready"
}
trap stop_node EXIT

for ((tenths = 0; tenths < 600; tenths++)); do
  grep -q '^switchyard-node ready ' "$ready" && break
  if ! kill -0 "$node_pid" 2>/dev/null; then
    show_log
    fail "the node ended before it was ready"
  fi
  sleep 0.1
done
ready_line=$(grep -m 1 '^switchyard-node ready ' "$ready") || {
  show_log
  fail "the node was not ready within a minute"
}
# switchyard-node ready grpc=HOST:PORT metrics=HOST:PORT admin=HOST:PORT
address_of() { sed -E "s/.* $1=([^ ]+).*/\1/" <<<"$ready_line"; }
grpc=$(address_of grpc)
metrics=http://$(address_of metrics)/metrics

say "A conversation with the node at $grpc; the third question needs the second:"
echo
"$client" chat --node "$grpc" --timeout 60 --temperature 0 --stats <<'QUESTIONS' || { show_log && fail "the conversation failed"; }
What is the capital of France?
My name is Ada.
What is my name?
QUESTIONS

say "Four of its metrics, from $metrics:"
page=$(curl --silent --show-error --fail --max-time 10 "$metrics") || fail "$metrics does not answer"
shown='prompt_tokens_total\{.*computed|generation_tokens_total|time_to_first_token_seconds_count|kv_cache_usage_ratio\{.*full'
grep -E "^switchyard_($shown)" <<<"$page" || fail "$metrics lacks metrics that every node has"

if [[ $keep ]]; then
  trap - EXIT
  rm -f "$ready"
  disown "$node_pid"
  say "The node goes on. Talk to it:  $client chat --node $grpc
              Stop it:        kill $node_pid
              Its log:        $log"
  exit 0
fi

kill -TERM "$node_pid"
node_exit=0
wait "$node_pid" || node_exit=$?
trap - EXIT
rm -f "$ready"
[[ $node_exit -eq 0 ]] || { show_log && fail "the node ended with exit code $node_exit"; }
rm -f "$log"
say "The node stopped. To keep one running: deploy/quickstart.sh --keep"
