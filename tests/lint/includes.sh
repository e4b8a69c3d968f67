#!/bin/bash
# Holds the #include lines of spoa/ against the arrows of the design: a room uses those listed for it and its own, and
# only io/ sees the libraries that wait (libev, libpq, hiredis).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

declare -A uses=(
    [base]=""
    [spop]="base"
    [imgurl]="base"
    [policy]="base"
    [usage]="base"
    [io]="base"
    [store]="io policy usage base"
    [agent]="store io policy usage imgurl spop base"
    [api]="store io usage policy imgurl base"
    [cli]="store io usage policy imgurl base"
)
bad=0

complain() {
    echo "includes: $*"
    bad=1
}

for folder in spoa/*/; do
    room=$(basename "$folder")
    if [ -z "${uses[$room]+known}" ]; then
        complain "spoa/$room is not a room of the design"
        continue
    fi
    allowed=" $room ${uses[$room]} "
    while IFS=: read -r file line header; do
        case $header in
        */*) [[ $allowed == *" ${header%%/*} "* ]] || complain "$file:$line: $room must not include \"$header\"" ;;
        *) complain "$file:$line: write \"$room/$header\", with the room" ;;
        esac
    done < <(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder"*.[ch] /dev/null 2>/dev/null |
        sed -E 's/^([^:]*):([0-9]*):.*"([^"]*)".*/\1:\2:\3/')
    if [ "$room" != io ]; then
        while IFS= read -r hit; do
            complain "$hit (only io/ may)"
        done < <(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"](ev\.h|libpq-fe\.h|postgresql/|hiredis)' \
            "$folder"*.[ch] /dev/null 2>/dev/null)
    fi
done

# One file of agent/, and no more, joins a SPOP connection with the decision.
if compgen -G 'spoa/agent/*.c' >/dev/null; then
    joins=()
    for file in spoa/agent/*.[ch]; do
        if grep -q '^#include "spop/' "$file" && grep -q '^#include "policy/decide.h"' "$file"; then
            joins+=("$file")
        fi
    done
    [ ${#joins[@]} -eq 1 ] ||
        complain "exactly one file of spoa/agent includes both spop/ and policy/decide.h, found ${#joins[@]}: ${joins[*]:-}"
fi
exit $bad
