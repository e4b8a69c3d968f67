#!/bin/bash
# `make lint`: every check on every file; all of them run, and the end says which ones failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

compose/local/setup.sh run test lint || exit 1

find_files() {
    find . \( -path ./.git -o -path ./build -o -path ./bin -o -path ./var \) -prune -o -type f \( "$@" \) -print | sort
}
mapfile -t c_files < <(find_files -name '*.c')
mapfile -t h_files < <(find_files -name '*.h')
mapfile -t py_files < <(find_files -name '*.py')
mapfile -t sh_files < <(find_files -name '*.sh' -o -path ./compose/local/stack -o -path ./.ci/run)

flags=(-std=c11 -D_GNU_SOURCE "-DGATEWAY_VERSION=\"lint\"" "-DTEST_DATA=\"tests/unit/data\"" -Ispoa -Itests/unit
    "-I$(pg_config --includedir)")
read -ra vips < <(pkg-config --cflags vips)
failed=()
began=$SECONDS

check() {
    local name=$1 from=$SECONDS
    shift
    if "$@"; then
        printf '  ok    %-14s %3d s\n' "$name" $((SECONDS - from))
    else
        printf '  FAIL  %-14s %3d s\n' "$name" $((SECONDS - from))
        failed+=("$name")
    fi
}

clang_format() {
    clang-format --dry-run -Werror "${c_files[@]}" "${h_files[@]}"
}

# The analyzer is of little use in tests and slow there: they get cppcheck and the compiler's warnings.
clang_tidy() {
    local files=() extra=()
    mapfile -t files < <(printf '%s\n' "${c_files[@]}" | grep -E '^\./(spoa|tests/standin)/')
    mapfile -t extra < <(printf -- '--extra-arg=%s\n' "${flags[@]}" "${vips[@]}")
    # stderr has what it left out of system headers, and that there is no compilation database.
    printf '%s\0' "${files[@]}" | xargs -0 -n 2 -P "$(nproc)" clang-tidy --quiet "${extra[@]}" 2>/dev/null
}

# Suppressed: readdir() and getpwnam() are called by one thread; a pointer to a local that a caller's struct keeps for a
# while, and leaks, are for clang's analyzer, ASan and valgrind, which know who takes what over; scandir() in migrate.c
# may have no comparison.
cpp_check() {
    local folders=(spoa)
    [ ! -d tests/standin ] || folders+=(tests/standin)
    cppcheck -q -j "$(nproc)" --std=c11 --language=c --library=posix,gnu --error-exitcode=1 \
        --enable=warning,performance,portability \
        --suppress=missingInclude --suppress=missingIncludeSystem --suppress=unmatchedSuppression \
        --suppress=readdirCalled --suppress=getpwnamCalled --suppress=getgrnamCalled \
        --suppress=autoVariables --suppress=nullPointer:spoa/store/migrate.c --suppress=memleak --suppress=resourceLeak \
        -D__GNUC__=12 -D__linux__ -D_GNU_SOURCE -DGATEWAY_VERSION='"lint"' -Ispoa "${folders[@]}"
}

shell_check() {
    shellcheck "${sh_files[@]}"
}

python_compiles() {
    local file
    for file in "${py_files[@]}"; do
        /usr/bin/python3 -c 'import sys; compile(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1], "exec")' \
            "$file" || return 1
    done
}

file_lengths() {
    awk 'FNR > 900 && !told[FILENAME]++ { print FILENAME ": longer than 900 lines"; bad = 1 } END { exit bad }' \
        "${c_files[@]}" "${h_files[@]}" "${py_files[@]}" "${sh_files[@]}"
}

# Headers stand alone.
headers_compile() {
    local header bad=0
    for header in "${h_files[@]}"; do
        case $header in ./spoa/*) ;; *) continue ;; esac
        gcc "${flags[@]}" -Wall -Wextra -fsyntax-only -x c -include stddef.h "$header" 2>&1 |
            grep -v 'pragma once in main file' | grep -E 'error|warning' && bad=1
    done
    return $bad
}

# The stack in containers, with the stand-ins and without.
compose_files() {
    local standins=() override
    for override in "" tests/containers/docker-compose.standins.yml; do
        [ -z "$override" ] || standins=(-f "$override")
        ENV_FILE="$PWD/compose/.env.example" STANDINS=/tmp docker-compose --project-directory compose \
            --env-file compose/.env.example -f compose/docker-compose.yml "${standins[@]}" config -q || return 1
    done
    promtool check config --syntax-only compose/prometheus.yml >/dev/null
}

# The document is made from the table of the code.
env_example() {
    /usr/bin/python3 -B tests/lint/env_example.py check
}

metrics_doc() {
    /usr/bin/python3 -B tests/lint/metrics_doc.py check
}

# Rules and alerts: their form, that each alert fires in a test and is silent in one, and that it has its page.
prometheus_rules() {
    promtool check rules configs/prometheus/rules.yml configs/prometheus/alerts.yml >/dev/null &&
        promtool check config --syntax-only configs/prometheus/prometheus.yml >/dev/null &&
        promtool test rules tests/promtool/*.yml &&
        /usr/bin/python3 -B tests/lint/alerts.py
}

# Keys, tokens and private keys that were left in a file. Tests make their own.
no_secrets() {
    ! find_files ! -path './tests/*' | tr '\n' '\0' | xargs -0 grep -nIE \
        'igw_[0-9]+_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}|BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[0-9A-Za-z]{36}'
}

check clang-format clang_format
check units tests/lint/units.sh
check includes tests/lint/includes.sh
check headers headers_compile
check file-length file_lengths
check secrets no_secrets
check python python_compiles
check shellcheck shell_check
check yamllint yamllint -s .
check compose compose_files
check env-example env_example
check metrics-doc metrics_doc
check prometheus prometheus_rules
check cppcheck cpp_check
check clang-tidy clang_tidy

if [ ${#failed[@]} -gt 0 ]; then
    echo "lint failed after $((SECONDS - began)) s: ${failed[*]}"
    exit 1
fi
echo "lint is clean, $((SECONDS - began)) s"
