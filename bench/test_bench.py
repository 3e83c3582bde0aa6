"""The bench runs: once, with few requests, so that it does not rot. What it measures here says nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import report
import tls

HERE = Path(__file__).resolve().parent


def given():
    """Executables of the environment in place of built ones: BENCH_BINARIES is a folder, BENCH_CAMBIO a file."""
    options = []
    if folder := os.environ.get("BENCH_BINARIES"):
        names = ["me", "token-exchange", "authorizer", "no-op", "poller"]
        options += [f"--binary={name}={folder}/{name}" for name in names]
    if cambio := os.environ.get("BENCH_CAMBIO"):
        options.append(f"--cambio={cambio}")
    return options


def test_the_bench_measures_every_candidate(tmp_path):
    output = tmp_path / "results.json"
    command = [
        sys.executable,
        HERE / "bench.py",
        "--rounds=1",
        "--requests=3",
        "--no-instructions",
        f"--output={output}",
    ]

    ran = subprocess.run([*command, *given()], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(output.read_text())
    for route in ("/me", "refresh", "exchange", "authorizer"):
        assert set(results["routes"][route]) == {"cambio", "node", "python"}
        for taken in results["routes"][route].values():
            assert all(
                taken[metric]["median"] > 0 for metric in ("init_ms", "p50_ms", "cold_cpu_ms", "warm_cpu_us", "rss_mib")
            )
    assert set(results["routes"]["no-op"]) == {"lambda_http", "poller"}
    assert "warm CPU" in ran.stdout
    # The blocks of the page can be made of what a run writes.
    for name in ("conditions", "warm", "cold"):
        assert report.BLOCKS[name](results)
    assert report.picture(results).startswith("<svg")


def test_a_route_that_there_is_not_is_named():
    ran = subprocess.run([sys.executable, HERE / "bench.py", "/nothing"], capture_output=True, text=True)

    assert ran.returncode == 2
    assert "there is no route /nothing; there are /me, refresh, exchange, authorizer" in ran.stderr


def test_a_binary_without_the_expected_root_is_refused(tmp_path):
    """The copy of a function must be the function: the bench replaces one root certificate, and finds it once."""
    authority = tls.Authority(tmp_path, "bench.example")
    (tmp_path / "other").write_bytes(b"no certificate")

    try:
        authority.trusted_by(tmp_path / "other")
    except tls.Failure as failure:
        assert "does not contain the root # Amazon_Root_CA_1" in str(failure)
    else:
        raise AssertionError("a binary without the root was copied")


def test_a_copy_differs_in_the_root_alone(tmp_path):
    roots = tls.AMAZON_ROOTS.read_bytes()
    folder = tmp_path / "authority"
    folder.mkdir()
    (tmp_path / "function").write_bytes(b"before" + roots + b"after")

    copy = tls.Authority(folder, "bench.example").trusted_by(tmp_path / "function").read_bytes()

    assert len(copy) == len(roots) + 11
    second = roots.index(b"# Amazon_Root_CA_2")
    assert copy.endswith(roots[second:] + b"after") and copy.startswith(b"before# Amazon_Root_CA_1\n-----BEGIN")
    assert roots[:second] not in copy
