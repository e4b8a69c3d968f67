#!/bin/sh
# imgproxy's command line as far as the stack uses it.
set -eu

case ${1:-} in
health) exec wget -q -O /dev/null "http://127.0.0.1${IMGPROXY_BIND:-:8080}/health" ;;
'') exec imgproxy-standin ;;
*) echo "imgproxy: unknown command $1" >&2 && exit 1 ;;
esac
