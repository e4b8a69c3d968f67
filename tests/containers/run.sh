#!/bin/bash
# `make test-containers`: installs what it needs, builds the image server's stand-in, and runs the stack of
# compose/docker-compose.yml in containers. Everything lies in a temporary folder and in namespaces of its own (see
# gwcontainers/__init__.py), and is gone at the end. Needs root and about 4 GB below CONTAINERS_DIR (/var/tmp).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ "$(id -u)" -ne 0 ]; then
    echo "test-containers: needs root, for an engine of its own" >&2
    exit 1
fi
compose/local/setup.sh run containers
make --no-print-directory -j"$(nproc)" build
PYTHONPATH=tests/containers exec /usr/bin/python3 -B -m gwcontainers "$@"
