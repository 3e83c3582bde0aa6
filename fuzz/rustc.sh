#!/bin/sh
# Cargo's wrapper for the crates of this workspace: compiles them with the coverage counters of libFuzzer, as cargo-fuzz
# does, on a stable compiler. Dependencies keep their usual builds.
exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16
