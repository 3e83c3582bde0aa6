#!/usr/bin/env bash
# Installs what the tests need besides Rust, Node 20+, Python 3.11+ and, for test-interop, test-release and
# test-dynamodb-local, Go and Java with Maven. Says what goes where.
#
#     tests/setup.sh                     everything but dynamodb-local, mutants and dist, which the commands of make
#                                        that need them install
#     tests/setup.sh python npm          only these parts (python, npm, package, bench, chromium, valgrind, faketime,
#                                        cxx, runtime-emulator, dynamodb-local, mutants, dist)
#
# Everything but Chromium, valgrind, faketime and the C++ compiler stays inside this folder. A stamp next to each
# installed tree holds the hash of the files that describe it, so a second run does nothing, and a changed requirement
# installs again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# The hash covers the tool's version too: a tree installed by another Python or Node is stale.
stamp_of() { # <tool version> <file>...
    { echo "$1" && cat "${@:2}"; } | sha256sum | cut -d' ' -f1
}

apt_install() { # <package>...
    local root=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || return 1
        root=(sudo)
        [ -t 0 ] || root+=(-n) # nobody is there to type a password
    fi
    say "installing $* with apt-get, system-wide${root:+ (sudo)}"
    "${root[@]}" apt-get update -qq </dev/null || return 1
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null
}

pip_install() { # <argument>...
    .venv/bin/pip install --quiet --disable-pip-version-check --no-input "$@" </dev/null
}

install_python() {
    command -v python3 >/dev/null || fail 'python3 is missing; Python 3.11 or newer is needed.'
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; this is $(python3 --version)."
    local stamp
    stamp=$(stamp_of "$(python3 --version)" tests/requirements.txt)
    if [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; then
        say '.venv is there'
        return
    fi
    say 'installing cargo-lambda, sam, cfn-lint, pytest and Schemathesis from PyPI into .venv (about 800 MB, half of it zig)'
    rm -rf .venv
    # Debian keeps the venv module in a package of its own.
    python3 -m venv .venv 2>/dev/null || {
        apt_install python3-venv && rm -rf .venv && python3 -m venv .venv
    } || fail 'could not make a virtual environment; install python3-venv.'
    # uv takes 40% of pip's time. It does not read pip's settings, such as another index: then pip installs all.
    pip_install "$(sed -nE 's/^(uv==[^ ]+).*/\1/p' tests/requirements.txt)"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode -r tests/requirements.txt </dev/null || {
        say 'uv could not install them; pip does'
        pip_install -r tests/requirements.txt
    }
    echo "$stamp" >.venv/.stamp
}

install_npm() { # <folder>...; by default, all
    command -v npm >/dev/null || fail 'npm is missing; Node 20 or newer is needed.'
    node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' ||
        fail "Node 20 or newer is needed; this is $(node --version)."
    local folder
    # The package first: the examples get a copy of it.
    [ $# -gt 0 ] || set -- clients/next-auth clients/cambio tests/browser tests/interop examples/nextjs \
        examples/better-auth bench/baselines/node
    for folder; do
        if [ "$(cat "$folder/node_modules/.stamp" 2>/dev/null)" = "$(npm_stamp "$folder")" ]; then
            say "$folder/node_modules is there"
            continue
        fi
        say "installing the npm packages of $folder into $folder/node_modules"
        # npm takes a copy that is there for the package as it is now.
        rm -rf "$folder/node_modules/@cambio"
        # Not `npm ci`: it fails on locked optional packages of other platforms that a registry does not carry.
        (cd "$folder" && npm install $(npm_scripts_of "$folder") --no-audit --no-fund --loglevel=error </dev/null)
        (cd "$folder" && npm_built "$folder" </dev/null)
        npm_stamp "$folder" >"$folder/node_modules/.stamp"
    done
}
# No script of a package runs, except those that unpack a runtime for the tests, and that of the examples' copy of
# clients/next-auth, which builds it.
npm_scripts_of() { # <folder>
    case $1 in examples/*) ;; *) echo --ignore-scripts ;; esac
}
npm_built() { # <folder>
    case $1 in clients/next-auth) npm rebuild --loglevel=error bun deno workerd sharp ;; esac
    case $1 in clients/*) npm run --silent build ;; esac
}
install_package() { install_npm clients/next-auth clients/cambio; }
install_bench() { install_npm bench/baselines/node; }
npm_stamp() { # <folder>
    local package=()
    case $1 in examples/*) package=(openapi.yaml clients/next-auth/{package.json,README.md,build.mjs,src/*}) ;; esac
    stamp_of "$(node --version)" "$1/package.json" "$1/package-lock.json" "${package[@]}"
}

install_chromium() {
    local name
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then
            say "Chromium is there: $(command -v "$name")"
            return
        fi
    done
    apt_install chromium || fail \
        'the browser tests need Chromium, which could not be installed (no apt-get, or not root and no sudo?).' \
        'Install it by hand, for instance: sudo apt-get install chromium' \
        'or run the other tests: make test-template test-rust test-release'
}

install_valgrind() {
    if command -v valgrind >/dev/null && command -v vgdb >/dev/null; then
        say "valgrind is there: $(command -v valgrind)"
        return
    fi
    apt_install valgrind || fail \
        'counting instructions needs valgrind, which could not be installed (no apt-get, or not root and no sudo?).' \
        'Install it by hand, for instance: sudo apt-get install valgrind'
}

install_faketime() {
    if compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then
        say 'faketime is there'
        return
    fi
    apt_install faketime || fail \
        'moving the clocks of the functions needs faketime, which could not be installed (no apt-get, or not root and no sudo?).' \
        'Install it by hand, for instance: sudo apt-get install faketime'
}

# libFuzzer is C++, which the `cc` crate compiles with CXX or with c++.
install_cxx() {
    if command -v "${CXX:-c++}" >/dev/null; then
        say "a C++ compiler is there: $(command -v "${CXX:-c++}")"
        return
    fi
    apt_install g++ || fail \
        'the fuzz targets need a C++ compiler, which could not be installed (no apt-get, or not root and no sudo?).' \
        'Install it by hand, for instance: sudo apt-get install g++'
}

install_dynamodb-local() {
    local folder=tests/dynamodb-local stamp
    command -v java >/dev/null || fail 'java is missing; Java 17 or newer is needed.'
    command -v mvn >/dev/null || fail 'mvn is missing; Maven installs DynamoDB Local.'
    stamp=$(stamp_of "$(java -version 2>&1)" $folder/pom.xml)
    if [ "$(cat $folder/lib/.stamp 2>/dev/null)" = "$stamp" ]; then
        say "$folder/lib is there"
        return
    fi
    say "installing Amazon's DynamoDB Local from Maven Central into $folder/lib (51 MB)"
    rm -rf $folder/lib
    mvn --batch-mode --quiet --strict-checksums -Dstyle.color=never --file $folder/pom.xml dependency:copy-dependencies </dev/null
    echo "$stamp" >$folder/lib/.stamp
}

install_runtime-emulator() {
    local folder=tests/runtime-emulator tool=aws-lambda-rie to="$PWD/target/tools/bin" stamp needed
    needed="Go $(sed -n 's/^go //p' $folder/go.mod) or newer"
    if ! command -v go >/dev/null; then
        [ -z "${CI:-}" ] || fail "go is missing; $needed is needed."
        say "go is missing, so AWS's Runtime Interface Emulator is not installed; it needs $needed"
        return
    fi
    stamp=$(stamp_of "$(go version)" $folder/go.mod $folder/go.sum)
    if [ "$(cat "target/tools/.$tool" 2>/dev/null)" = "$stamp" ] && [ -x "$to/$tool" ]; then
        say "target/tools/bin/$tool is there"
        return
    fi
    say "building AWS's Runtime Interface Emulator, from the Go module proxy, into target/tools"
    (cd $folder && CGO_ENABLED=0 GOBIN="$to" go install "$(sed -n 's/^tool //p' go.mod)" </dev/null) ||
        fail "AWS's Runtime Interface Emulator could not be built. $needed is needed; this is $(go version)."
    echo "$stamp" >"target/tools/.$tool"
}

# A tool that crates.io has as source only. It is compiled once, into target/tools, without optimizations: it reads
# sources and starts cargo.
install_tool() { # <package> <version>
    local stamp=target/tools/.$1
    if [ "$(cat "$stamp" 2>/dev/null)" = "$2" ]; then
        say "target/tools/bin/$1 is there"
        return
    fi
    say "compiling $1 $2 from crates.io into target/tools (a minute or two)"
    CARGO_TARGET_DIR=target/tools/build cargo install --debug --quiet --locked --force --root target/tools --version "=$2" "$1" </dev/null
    rm -rf target/tools/build
    echo "$2" >"$stamp"
}
install_mutants() { install_tool cargo-mutants 27.1.0; }
install_dist() {
    install_tool cargo-auditable 0.7.7
    install_tool cargo-cyclonedx 0.5.9
}

[ $# -gt 0 ] || set -- python npm chromium valgrind faketime cxx runtime-emulator
for part; do
    case $part in
        python | npm | package | bench | chromium | valgrind | faketime | cxx | runtime-emulator | dynamodb-local | mutants | dist)
            "install_$part"
            ;;
        *) fail "unknown part '$part'; there are python, npm, package, bench, chromium, valgrind, faketime, cxx," \
            'runtime-emulator, dynamodb-local, mutants and dist.' ;;
    esac
done
