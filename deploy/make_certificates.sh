#!/usr/bin/env bash
# Makes an authority, a certificate for nodes and one for clients, to try TLS with: mutual, and valid
# for 90 days. For real use let cert-manager or your own authority issue them.
#
#   make_certificates.sh FOLDER [NAME...]
#
#   FOLDER   gets ca.crt ca.key node.crt node.key client.crt client.key; must not hold any yet
#   NAME     host names or IP addresses of the nodes (default: localhost, 127.0.0.1, and the names of
#            deploy/kubernetes's Services)
set -euo pipefail

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
case ${1-} in
  --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
  '' | -*) say "a folder is needed; --help tells more" && exit 2 ;;
esac
folder=$1 && shift
names=("$@")
service=switchyard-node-pods.switchyard.svc
[[ $# -gt 0 ]] || names=(localhost 127.0.0.1 switchyard switchyard.switchyard.svc switchyard-node
  switchyard-node.switchyard.svc switchyard-node-pods "$service" "*.switchyard-node-pods" "*.$service")
mkdir -p "$folder"
[[ -z $(ls -A "$folder") ]] || { say "$folder is not empty" && exit 2; }
cd "$folder"
umask 077

alternatives=""
for name in "${names[@]}"; do
  [[ $name =~ ^[0-9.]+$|: ]] && kind=IP || kind=DNS
  alternatives+=${alternatives:+,}$kind:$name
done
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -days 90 -subj "/CN=switchyard trial authority" -keyout ca.key -out ca.crt \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2> /dev/null
issue() {  # STEM SUBJECT EXTENSIONS
  openssl req -new "${key[@]}" -subj "/CN=$2" -keyout "$1.key" -out "$1.csr" 2> /dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 90 -out "$1.crt" \
    -extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "${@:3}") 2> /dev/null
  rm "$1.csr"
}
issue node switchyard-node extendedKeyUsage=serverAuth "subjectAltName=$alternatives"
issue client switchyard-client extendedKeyUsage=clientAuth
rm -f ca.srl
openssl verify -CAfile ca.crt node.crt client.crt > /dev/null
say "$folder: ca, node ($alternatives), client"
