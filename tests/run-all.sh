#!/bin/bash
# `make test`: installs what the tests need, then every stage in order; the first that fails ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
jobs=-j$(nproc)
# Most of these tests wait most of the time: three files run beside each other. A machine that is busy for a moment is no
# failure: what fails is run once more, and named in the summary ("RERUN"), so that a test that often needs it is seen.
again="--reruns 1 -rR"
beside="-n 3 --dist loadfile -m 'not serial' $again"
began=$SECONDS

stage() {
    local title=$1 from=$SECONDS
    shift
    printf '\n=== %s\n' "$title"
    if ! "$@"; then
        printf '=== %s: FAILED after %d s\n' "$title" $((SECONDS - from))
        exit 1
    fi
    printf '=== %s: ok, %d s\n' "$title" $((SECONDS - from))
}

quiet_make() {
    make --no-print-directory "$@"
}

stage "packages" compose/local/setup.sh run test load
stage "build" quiet_make "$jobs" build
stage "unit tests" quiet_make "$jobs" test-unit
stage "integration tests" quiet_make test-integration PYTEST_ARGS="$beside"
stage "integration tests that measure" quiet_make test-integration PYTEST_ARGS="-m serial $again"
stage "build with ASan and UBSan" quiet_make "$jobs" SANITIZE=address,undefined build
stage "unit tests with ASan and UBSan" quiet_make "$jobs" SANITIZE=address,undefined test-unit
stage "integration tests with ASan and UBSan" quiet_make SANITIZE=address,undefined test-integration PYTEST_ARGS="$beside"
printf '\nall tests passed in %d s\n' $((SECONDS - began))
