#!/bin/bash
# run-unit.sh BUILD_DIR PROGRAM... -- REPLAY...: runs unit test programs, then replays the corpora of the fuzz targets.
# One line for each program; on failure what it printed. Ends with "N passed, N failed" and fails if one did.
set -uo pipefail

build=$1
shift
export CMOCKA_MESSAGE_OUTPUT=stdout
passed=0 failed=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Adds a program's own count of tests; one that printed none counts as one test.
report() {
    local name=$1 status=$2 good bad
    good=$(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$output" | awk '{n += $1} END {print n + 0}')
    bad=$(grep -c '^\[  FAILED  \] [a-zA-Z_]' "$output")
    if [ "$status" -eq 0 ]; then
        [ "$good" -gt 0 ] || good=1
        passed=$((passed + good))
        printf '  ok    %-40s %4d\n' "$name" "$good"
        return
    fi
    [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + good))
    failed=$((failed + bad))
    printf '  FAIL  %-40s exit code %d\n' "$name" "$status"
    sed 's/^/        /' "$output"
}

replay=
for program in "$@"; do
    if [ "$program" = -- ]; then
        replay=yes
        continue
    fi
    arguments=()
    if [ -n "$replay" ]; then
        name=${program##*/replay_}
        arguments=("tests/fuzz/corpus/$name")
        name="fuzz/$name (corpus)"
    else
        name=${program#"$build"/unit/}
    fi
    timeout 300 "$program" "${arguments[@]}" >"$output" 2>&1 </dev/null
    report "$name" $?
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
