#!/usr/bin/env bash
# No secret, token or e-mail address in any line that the functions logged while the tests ran.
#
# Reads the logs of the Rust end-to-end tests and of the Lambda binaries that the browser tests ran. What Next.js and
# the stand-in GitHub print is their own affair.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

# kind, then the pattern, then a line that it must find.
PATTERNS=(
    # Not in the middle of a key id nor at the start of a session id, where any letters come up in time.
    'a token of GitHub' '(^|[^A-Za-z0-9_-])gh[a-z]_[A-Za-z0-9]{20,}' 'token=gho_0123456789abcdef0123456789abcdef0123'
    'a refresh token' '(^|[^A-Za-z0-9_-])cbr_[A-Za-z0-9_-]{20,}' '"refresh_token":"cbr_AQGiC2c6onO3s1j4jZMjuHQ"'
    'a JWT or a part of one' '(^|[^A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{20,}' 'found "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.c2ln"'
    'a private key' 'PRIVATE KEY' '-----BEGIN PRIVATE KEY-----'
    'the local client secret' 'local-client-secret-not-for' 'x local-client-secret-not-for-production'
    'the secret of the stand-in GitHub' 'cambio-local-secret' 'x cambio-local-secret'
    'a secret of the test kit' 'CANARY' '{"message":"CANARY-client-secret"}'
    'a credential in a header' '(Basic|Bearer) [A-Za-z0-9+/_.-]{16,}' 'authorization: Basic bmV4dGpzOnNlY3JldHNlY3JldA=='
    'an e-mail address' '[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+' '"email":"octocat@example.com"'
)
HARMLESS='{"level":"INFO","message":"who is asking @ /me?","request_id":"8f5c2a10-gho","route":"GET /me","status":401}'

scan() { # <file>... : prints what it finds as file:line: kind, and says whether it found anything
    local found=1 i
    for ((i = 0; i < ${#PATTERNS[@]}; i += 3)); do
        # The line itself is not printed: this output is a log as well.
        if grep -HnEa -- "${PATTERNS[i + 1]}" "$@" | cut -d: -f1,2 |
            sed "s/\$/: ${PATTERNS[i]}/; 11s/.*/and more: ${PATTERNS[i]}/; 12,\$d" | grep .; then found=0; fi
    done
    return $found
}

# First that the scan would notice: each kind of secret, planted alone, is found, and an ordinary line is not.
planted=$(mktemp)
trap 'rm -f "$planted"' EXIT
for ((i = 0; i < ${#PATTERNS[@]}; i += 3)); do
    printf '%s\n' "$HARMLESS" "${PATTERNS[i + 2]}" >"$planted"
    scan "$planted" | grep -qF ":2: ${PATTERNS[i]}" || {
        echo "check-logs: a planted secret was not found: ${PATTERNS[i]}"
        exit 1
    }
done
printf '%s\n' "$HARMLESS" >"$planted"
if scan "$planted"; then echo 'check-logs: a harmless line was taken for a secret'; exit 1; fi

# Then the logs of this run. Having none proves nothing.
logs=()
for glob in 'target/e2e-logs/*.log' 'target/browser/*lambda*.log'; do
    # shellcheck disable=SC2206 # the pattern is meant to expand
    files=($glob)
    lines=$([ ${#files[@]} = 0 ] || cat "${files[@]}" | grep -c '"level"' || true)
    [ "${lines:-0}" -gt 0 ] || { echo "check-logs: no line of a function in $glob; did its tests run?"; exit 1; }
    echo "check-logs: $lines lines in ${#files[@]} files of $glob"
    logs+=("${files[@]}")
done
if scan "${logs[@]}"; then echo 'check-logs: the lines above hold what no log may hold'; exit 1; fi
echo 'check-logs: no secret, no token, no e-mail address'
