#!/usr/bin/env bash
# Makes targets at once, and says how long each took: tests/at_once.sh test-walk test-npx
#
# The first one prints as it goes; what the others printed follows when it has passed. Fails if one of them fails.
# However it ends, none of them is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."

timed() { # <target>
    local started=$SECONDS
    printf '\n=== %s\n' "$1"
    "${MAKE:-make}" --no-print-directory "$1" || return
    printf '=== %s passed in %d s\n' "$1" $((SECONDS - started))
}

mkdir -p target
others=()
end() {
    for other in "${others[@]}"; do kill -- "-$other" 2>/dev/null || true; done
}
trap end EXIT

set -m # each a process group, to end it as a whole
for target in "${@:2}"; do
    timed "$target" </dev/null >"target/$target.log" 2>&1 &
    others+=("$!")
done
set +m

timed "$1" || exit
code=0
for index in "${!others[@]}"; do
    wait "${others[index]}" || code=$?
    cat "target/${*:index+2:1}.log"
done
exit "$code"
