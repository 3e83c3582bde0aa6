"""The commands of the pages, run as they stand there and in their order, on a machine that has what the page names.

Each walk takes its blocks from the page. blocks.py says which block of which page is walked where.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cfnlint.decode import cfn_yaml

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "template"))
import test_deploy  # noqa: E402
from blocks import LISTED, Walked  # noqa: E402
from machine import NODE, RUST, Machine, link_or_copy, shape  # noqa: E402
from pages import ROOT, blocks  # noqa: E402

LOCAL = "http://localhost:9000"
APP = "http://localhost:3000"
# A first build of `cambio` from its dependencies.
BUILD = 1800


@pytest.fixture(scope="module")
def machine():
    with_what_it_starts = Machine(ROOT / "target/walk")
    yield with_what_it_starts
    with_what_it_starts.close()


@pytest.fixture(autouse=True)
def stop_servers(machine):
    """Each walk starts without users and variables, and leaves the ports of the pages free."""
    machine.variables.clear()
    shutil.rmtree(machine.clone / ".cambio", ignore_errors=True)
    yield
    for server in machine.servers:
        server.stop()
    machine.servers.clear()


def copy_node_modules(machine, folder):
    """What `npm install` has installed here for the same lock file, so that it has less to download."""
    to = machine.clone / folder / "node_modules"
    shutil.copytree(ROOT / folder / "node_modules", to, symlinks=True, copy_function=link_or_copy)


def create_app(machine):
    """An app of `create-next-app`, which the pages begin with."""
    shutil.rmtree(machine.app, ignore_errors=True)
    creator = ROOT / "tests/browser/node_modules/create-next-app/dist/index.js"
    # Empty, because the default template downloads fonts; not installed, because the next command does that.
    options = "--yes --empty --use-npm --disable-git --skip-install"
    machine.run(f"node {creator} app {options}", machine.folder, online=True)


def printed_commands(server):
    """The commands that `cargo run` prints: the exchange of a sign-in, and the call of /me with the token."""
    server.until(lambda: "Ctrl-C stops." in server.output, 30)
    printed = re.findall(r"(?m)(?:^  .+\n)+", server.output)
    return [command for command in printed if "curl" in command]


def without_comment(command):
    return re.sub(r"\s+#.*", "", command)


# --- README.md --------------------------------------------------------------------------------------------------------


def test_readme_the_first_command_starts_a_server_whose_commands_get_a_token(machine):
    machine.install(*RUST)

    server = machine.serve(machine.take("README.md", "cargo run").text, LOCAL, seconds=BUILD)

    assert machine.get(LOCAL).startswith("200 <!doctype html>")
    # "The terminal shows the same as `curl` commands."
    exchange, me = printed_commands(server)
    assert json.loads(machine.run(exchange))["token_type"] == "Bearer"
    assert json.loads(machine.run(me))["name"] == "The Octocat"
    # "The terminal has a line for each request."
    server.until(lambda: '"/me"' in server.output, 10)
    assert server.stop() == 0
    assert server.output.endswith("\nStopped.\n")


def test_readme_the_demo_prints_what_the_page_shows(machine):
    machine.install(*RUST)
    shown = machine.take("README.md", "2. POST http://localhost")

    assert "`cargo run -- demo`" in (ROOT / "README.md").read_text()
    printed = machine.run("cargo run -- demo")

    assert "\n".join(shape(shown.text)) in "\n".join(shape(printed))
    assert shape(printed)[-1:] == shape(machine.take("README.md", "Every step gave").text)


def test_readme_and_package_a_fresh_app_runs_against_cargo_run(machine):
    package = "clients/next-auth/README.md"
    machine.install(*RUST, *NODE)
    create_app(machine)
    copy_node_modules(machine, "clients/next-auth")

    machine.run(machine.take(package, "make package").text, online=True)
    machine.run(machine.take(package, "npm install").text, machine.app, online=True)
    for block in blocks(package):
        if block.heading == "next-auth 4" and (path := re.match(r"// (\S+)\n", block.text)):
            (machine.app / path[1]).parent.mkdir(parents=True, exist_ok=True)
            (machine.app / path[1]).write_text(block.text)
    # Both pages have the same two commands; the second page gives them in the folders that they belong to.
    api, app = machine.take("README.md", "cargo run -- --write-env").commands
    assert [without_comment(command) for command in machine.take(package, "cargo run -- --write-env").commands] == [
        without_comment(api),
        without_comment(app).removeprefix("cd ../app && "),
    ]

    machine.serve(api, LOCAL, seconds=BUILD)
    next_dev = machine.serve(app, f"{APP}/api/auth/providers")

    assert (machine.app / ".env.local").read_text().count(LOCAL) >= 1
    assert set(machine.json(f"{APP}/api/auth/providers")) == {"github"}
    next_dev.until(lambda: "Sign in" in machine.get(APP), 120)


# --- examples/*/README.md ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", ["nextjs", "better-auth"])
def test_examples_the_app_runs_against_cargo_run(machine, example):
    machine.install(*RUST, *NODE)
    for folder in ("clients/next-auth", f"examples/{example}"):
        if not (machine.clone / folder / "node_modules").exists():
            copy_node_modules(machine, folder)

    api, package, folder, install, app = machine.take(f"examples/{example}/README.md", "cargo run").commands
    machine.serve(api, LOCAL, seconds=BUILD)
    machine.run(f"{package}\n{folder}\n{install}", online=True)
    next_dev = machine.serve(f"{folder}\n{app}", APP)

    assert app.endswith(f"# {APP}")
    next_dev.until(lambda: "Sign in" in machine.get(APP), 120)


# --- docs/clients.md, clients/next-auth/README.md: clients and their keys ---------------------------------------------


def with_values(listed, digits, key):
    """The JSON of a page, with a hash and a public key in place of the placeholders."""
    text = listed.replace("<64 hex digits>", digits)
    clients = json.loads(text)
    for client in clients if isinstance(clients, list) else [clients]:
        for keys in (client.get("jwks"), client.get("vouches")):
            if keys:
                assert set(keys["keys"][0]) <= set(key)
                keys["keys"] = [key]
    return clients


VOUCH = f"""
import {{ readFileSync }} from "node:fs";
import {{ importPKCS8, SignJWT }} from "jose";
const key = await importPKCS8(readFileSync("key.pem", "utf8"), "ES256");
const jwt = new SignJWT({{ name: "Ada" }}).setProtectedHeader({{ alg: "ES256", typ: "vouch+jwt", kid: "2026-11" }});
const signed = jwt.setIssuer("nextjs").setSubject("17").setAudience("{LOCAL}").setIssuedAt().setExpirationTime("1m");
console.log(await signed.setJti(crypto.randomUUID()).sign(key));
"""


# `cargo run -p admin` compiles for minutes what `cargo run` has compiled with other features. Both run one command.
OPERATOR = """#!/bin/bash
case "$1 $2 $3 $4" in
"run -p admin --") shift 4; exec {cargo} run --quiet -- admin "$@" ;;
esac
exec {cargo} "$@"
"""


def install_operator(machine):
    """Lets `cargo run -p admin` run the operator's command of `cargo run`."""
    (machine.folder / "home/cargo").mkdir(exist_ok=True)
    cargo = (machine.folder / "bin/cargo").rename(machine.folder / "home/cargo/cargo")
    (machine.folder / "bin/cargo").write_text(OPERATOR.format(cargo=cargo))
    (machine.folder / "bin/cargo").chmod(0o755)


def test_clients_each_kind_of_client_is_accepted_as_the_page_says(machine):
    page = "docs/clients.md"
    machine.install(*RUST, *NODE)
    install_operator(machine)

    secret, digits = machine.run(machine.take(page, "SECRET=").text).split()
    assert re.fullmatch("[0-9a-f]{64}", secret) and re.fullmatch("[0-9a-f]{64}", digits)
    key = json.loads(machine.run(machine.take(page, "openssl genpkey").text).splitlines()[-1])
    assert set(json.loads(machine.take(page, '{"kty"').text)) == set(key)

    clients = with_values(machine.take(page, "[").text, digits, key)
    vouching = with_values(machine.take(page, "{").text, digits, key)
    assert vouching["client_id"] == clients[0]["client_id"]
    clients[0] |= vouching
    # Step 2: "`client_id` has at most 64 letters"; the audience of the page is one of its own services.
    machine.serve("cargo run", LOCAL, seconds=BUILD, CLIENTS=json.dumps(clients))

    deploy, check = machine.take(page, "sam deploy").commands
    assert deploy == "sam deploy"  # walked in tests/template/test_deploy.py
    machine.variables |= {"API": LOCAL, "SECRET": secret}
    assert '"unsupported_grant_type"' in machine.run(check.replace("<client_id>", "nextjs"))
    assert '"invalid_client"' in machine.run(check.replace("<client_id>", "backoffice"))

    # The program with openid-client, and the key that the page made. `http` needs a word of its own.
    code = machine.take(page, "import { importPKCS8 }").text
    named = code.replace('kid: "2026-11" }));', 'kid: "2026-11" }), { execute: [client.allowInsecureRequests] });')
    assert named != code
    (machine.clone / "node_modules").symlink_to(ROOT / "tests/browser/node_modules")
    program = machine.clone / "walk.mjs"
    program.write_text(f'const issuer = "{LOCAL}";\n{named}\nawait client.tokenRevocation(cambio, "none");\n')
    machine.run("node walk.mjs", CAMBIO_PRIVATE_KEY=(machine.clone / "key.pem").read_text())

    # A JWT by which the app vouches for a user, and its exchange.
    (machine.clone / "vouch.mjs").write_text(VOUCH)
    machine.variables["JWT"] = machine.run("node vouch.mjs").strip()
    answer = json.loads(machine.run(machine.take(page, 'curl -s -u "nextjs:$SECRET" "$API/token"').text))
    assert answer["user"]["identities"][0]["provider"] == "app:nextjs"
    assert answer["user"]["identities"][0]["subject"] == "17"

    # The table of the local server. The parts of the page agree: it has the clients of "Add a client".
    (machine.clone / "clients.json").write_text(json.dumps(clients))
    imported = machine.run(machine.take(page, "cargo run -p admin -- clients import").text)
    assert imported == machine.take(page, "3 clients imported").text + "\n"
    added = machine.run(machine.take(page, "echo '{").text).splitlines()
    assert added[0] == "shop  added" and re.fullmatch(r"[\w-]{43}  is the secret; it is not shown again", added[1])
    assert added[-2:] == ["shop  removed", "version 3, in use within a minute"]
    replaced = machine.run(machine.take(page, "cargo run -p admin -- clients secret add").text)
    assert "nextjs  has its newer secret only" in replaced

    page = "docs/providers.md"
    listed = json.loads(machine.take(page, '[{ "name": "github"').text.replace("…", "a"))
    (machine.clone / "providers.json").write_text(json.dumps(listed))
    machine.run(machine.take(page, "cargo run -p admin -- providers import").text)
    (machine.clone / "discord.json").write_text(json.dumps(listed[-1]))
    printed = machine.run(machine.take(page, "cargo run -p admin -- providers set").text)
    assert "discord  replaced" in printed and "discord  removed" in printed


@pytest.mark.parametrize(
    ("heading", "member"), [("E-mail and credentials", "vouches"), ("A private key instead of the secret", "jwks")]
)
def test_package_the_commands_make_keys_that_cambio_accepts(machine, heading, member):
    page = "clients/next-auth/README.md"
    machine.install(*RUST, *NODE)

    (block,) = [block for block in blocks(page) if block.heading == heading and block.starts.startswith("node -e")]
    machine.taken.add(block)
    variable, line = machine.run(block.text).splitlines()

    name, private = variable.split("=", 1)
    entry = json.loads(f"{{{line}}}")
    assert (name, list(entry)) == ("CAMBIO_PRIVATE_KEY", [member])
    assert "d" in json.loads(private) and "d" not in entry[member]["keys"][0]
    digits = machine.run("printf %s the-secret | sha256sum | cut -d' ' -f1").strip()
    client = {"client_id": "nextjs", **entry, **({"secret_sha256": [digits]} if member == "vouches" else {})}
    machine.serve("cargo run", LOCAL, seconds=BUILD, CLIENTS=json.dumps([client]))

    # The package of the tree, which `make setup` has built.
    package = ROOT / "clients/next-auth/dist/esm"
    calls = {
        "vouches": """
            const { vouch } = await import(`${package}/vouch.js`);
            const jwt = await vouch()({ id: "17", name: "Ada" });
            const client = createClient({ url, clientId: "nextjs", clientSecret: "the-secret" });
            console.log((await client.exchange({ provider: "app", jwt })).user.name);""",
        "jwks": """
            const { privateKey } = await import(`${package}/private-key.js`);
            const client = createClient({ url, clientId: "nextjs", clientAuth: privateKey() });
            await client.revoke("none");
            console.log("Ada");""",
    }
    program = f"""
        const url = "{LOCAL}", package_ = "{package}";
        const {{ createClient }} = await import(`${{package_}}/index.js`);
        {calls[member].replace("${package}", "${package_}")}"""
    call = "node --input-type=module -e \"$PROGRAM\""
    env = {"CAMBIO_URL": LOCAL, "CAMBIO_CLIENT_ID": "nextjs", name: private, "PROGRAM": program}
    assert machine.run(call, **env) == "Ada\n"


# --- docs/operate.md, docs/settings.md, docs/troubleshooting.md -------------------------------------------------------

def test_operate_the_operators_commands_print_what_the_page_shows(machine):
    page = "docs/operate.md"
    machine.install(*RUST)
    install_operator(machine)
    server = machine.serve("cargo run", LOCAL, seconds=BUILD)
    exchange, _ = printed_commands(server)
    # The page's user has signed in with no user agent.
    user = json.loads(machine.run(exchange.replace("curl -s", "curl -s --user-agent ''", 1)))["user"]["id"]
    example = "01a2204b-ade7-7286-ae7e-67a1e9fae2bc"

    def prints(command):
        return machine.run(command.replace("<id>...", user).replace("<id>", user).replace(example, user))

    listed = prints(machine.take(page, "cargo run -p admin -- users list").text)
    assert shape(listed) == shape(machine.take(page, "ID ").text)
    assert prints(machine.take(page, "cargo run -- admin users list").text) == listed
    counted = prints(machine.take(page, "cargo run -p admin -- migrate").text).splitlines()
    # The local command knows the keys table too.
    counted = [line for line in counted if not line.startswith("key_set ")]
    assert counted == machine.take(page, "user         schema").text.splitlines()
    by_address, by_account, admins, disabled = machine.take(page, "cargo run -p admin -- users find").commands
    assert prints(by_address) == prints(by_account) == listed
    assert user not in prints(admins) + prints(disabled)
    change, replace, claims = machine.take(page, "cargo run -p admin -- users roles").commands
    assert "roles admin" in shape(prints(change))
    assert "roles admin support" in shape(prints(replace))
    assert 'claim plan = "pro"' in shape(prints(claims))
    prints(replace.replace("admin,support", "admin"))
    shown = shape(prints(machine.take(page, "cargo run -p admin -- users show").text))
    session = re.compile(r"^\S{22} ")
    wanted = shape(machine.take(page, "id        ").text)
    assert [session.sub("", line) for line in shown] == [session.sub("", line) for line in wanted]
    exported = json.loads(prints(machine.take(page, "cargo run -p admin -- users export").text))
    example_export = json.loads(machine.take(page, "{").text)
    assert sorted(exported) == sorted(example_export)
    assert {**exported["sessions"][0], **example_export["sessions"][0]} == example_export["sessions"][0]
    assert (exported["claims"], exported["roles"]) == (example_export["claims"], example_export["roles"])
    run = machine.take(page, "cargo run -p admin -- users sign-out --all").text
    signed_out = prints(run + " --yes")
    assert signed_out.split(" order of ")[0] in machine.take(page, "users signed out by").text
    assert signed_out.endswith(": 1\n")
    listed_keys = machine.take(page, "cargo run -p admin -- keys list").text
    printed = prints("cargo run -p admin -- keys list" if "--keys-table" in listed_keys else listed_keys)
    table = machine.take(page, "KID ").text
    assert [line.split()[1:2] for line in printed.splitlines()] == [line.split()[1:2] for line in table.splitlines()]
    current = printed.splitlines()[1].split()[0]
    configuration, rotate, revoke = machine.take(page, "aws lambda get-function-configuration").commands
    assert configuration.endswith("> rotate-keys.json")
    # The local server's settings take the place of those of the file.
    (machine.clone / "rotate-keys.json").write_text("{}")
    assert current in prints(rotate)
    assert current not in prints(revoke.replace("<kid>", current) + " --yes")
    (machine.clone / "rotate-keys.json").unlink()

    for command in ("disable", "enable", "sign-out <id>", "delete"):
        run = machine.take(page, f"cargo run -p admin -- users {command}").text
        # "The command asks first, unless it gets `--yes`."
        printed = prints(run + " --yes" if command == "delete" else run)
        assert shape(printed) == shape(machine.take(page, example).text), printed


def test_import_the_users_of_the_page_are_imported(machine):
    page = "docs/import.md"
    install_aws(machine)
    install_operator(machine)
    machine.serve("cargo run", LOCAL, seconds=BUILD)
    (machine.clone / "users.jsonl").write_text(machine.take(page, '{"id": "0199a1b2').text + "\n")
    machine.run(machine.take(page, "EXCHANGE=$(aws").text)
    # The local server's settings take the place of those of the file.
    assert json.loads((machine.clone / "token-exchange.json").read_text()) == {}

    for starts in ("would be imported: 3", "imported: 3"):
        printed = machine.run(machine.take(page, "cargo run -p admin -- users import").text)
        assert printed == machine.take(page, starts).text + "\n"

    found = machine.run("cargo run -p admin -- users find github:583231")
    assert "0199a1b2-c3d4-7000-8000-000000000001" in found
    for name in ("users.jsonl", "token-exchange.json"):
        (machine.clone / name).unlink()


# As `aws` of test_deploy.py, which accepts the command lines that the AWS CLI accepts. `cloudformation deploy` is a
# command of the CLI's own; an invocation of `rotate-keys` is one of the function that runs here.
AWS = """#!/bin/bash
set -euo pipefail
case "$1 $2" in
"cloudformation deploy")
    shift 2
    test "$1 $3" = "--stack-name --template-file" && test -f "$4"
    test "$5 $6 $7 $8" = "--capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides"
    printf '%s\\n' "${@:9}" >deployed
    ;;
"lambda invoke")
    "$(dirname "$0")/aws-model" "$@" >/dev/null
    while [ "$1" != --payload ]; do shift; done
    curl -s "http://localhost:9000/2015-03-31/functions/rotate-keys/invocations" -d "$2" >&2
    echo None
    ;;
"lambda get-function-configuration")
    "$(dirname "$0")/aws-model" "$@" >/dev/null
    echo '{}'
    ;;
*) exec "$(dirname "$0")/aws-model" "$@" ;;
esac
"""


def install_aws(machine):
    model = test_deploy.AWS.format(python=sys.executable, url=LOCAL)
    machine.install(*RUST, **{"aws": AWS, "aws-model": model})


def test_doctor_the_commands_of_the_page_find_the_local_server_sound(machine):
    page = "docs/doctor.md"
    install_aws(machine)
    install_operator(machine)
    printed = machine.run(machine.take(page, "cargo run -- doctor").text)
    line, result = machine.take(page, "ok    discovery.documents").text, machine.take(page, "44 passed").text
    assert shape(line)[0] in shape(printed)
    assert printed.splitlines()[-1] == result

    server = machine.serve("cargo run", LOCAL, seconds=BUILD)
    exchange, _ = printed_commands(server)
    client, secret = re.search(r"-u (\S+):(\S+) ", exchange).groups()
    stand_in = re.search(r"http://localhost:\d+/stand-in/tokens\?login=octocat", exchange)[0]
    machine.variables |= {"CLIENT_SECRET": secret, "GITHUB_TOKEN": machine.run(f"curl -s -X POST '{stand_in}'")}
    for needs in ("a client", "a token", "nothing more"):
        command = machine.take(page, "cargo run -p admin -- doctor https://api.example.com").text
        printed = machine.run(command.replace("https://api.example.com", LOCAL))
        assert " 0 failed, " in printed.splitlines()[-1], f"{needs}: {printed}"
        assert ("ok    session.revoked" in printed) == (needs == "nothing more")
    assert client == "nextjs"

    machine.run(machine.take(page, "ROLE=$(aws").text)
    machine.run(machine.take(page, "for POLICY in $(aws").text)
    lines = machine.run(machine.take(page, "cargo run -- doctor --json").text).splitlines()
    results = {json.loads(line)["result"] for line in lines}
    assert results == {"passed", "skipped"}


def test_deploy_the_check_of_a_deployment_gets_the_answers_of_the_page(machine):
    """tests/template/test_deploy.py walks the page; here, its check gets answers, of the local server."""
    install_aws(machine)
    install_operator(machine)
    server = machine.serve("cargo run", LOCAL, seconds=BUILD)
    exchange, _ = printed_commands(server)
    machine.variables["SECRET"] = re.search(r"-u nextjs:(\S+) ", exchange)[1]
    check = [block.text for block in blocks("docs/deploy.md") if block.heading == "Check a deployment"]
    api, doctor, documents, user, refusal, secret, answer, token = check

    machine.run(api)
    assert machine.variables["API"] == LOCAL
    assert " 0 failed, " in machine.run(doctor).splitlines()[-1]
    metadata, end = json.JSONDecoder().raw_decode(printed := machine.run(documents))
    # "The issuer is the stack's output; there are two keys."
    assert metadata["issuer"] == LOCAL
    assert len(json.loads(printed[end:])["keys"]) == 2
    assert machine.run(user).splitlines() == [refusal] * 3
    assert machine.run(secret) == answer
    machine.variables["SECRET"] += "x"
    assert json.loads(machine.run(secret))["error"] == "invalid_client"
    machine.variables["SECRET"] = machine.variables["SECRET"].removesuffix("x")
    assert machine.run(token) == '{"active":false}200\n'


def test_fronts_the_calls_of_the_check_get_the_answers_of_the_table(machine):
    """Here `URL` is the local server, which no service is in front of; tests/e2e/gateway.rs has their events."""
    machine.install(*RUST)
    server = machine.serve("cargo run", LOCAL, seconds=BUILD)
    exchange, _ = printed_commands(server)
    machine.variables |= {"URL": LOCAL, "TOKEN": json.loads(machine.run(exchange))["access_token"]}
    rows = re.findall(r"(?m)^\| `(curl .+)` \| (.+) \|$", (ROOT / "docs/fronts.md").read_text())
    assert len(rows) == 5

    for command, answer in rows:
        body, status = machine.run(command.replace("curl ", "curl -s -w '\\n%{http_code}' ", 1)).rsplit("\n", 1)
        assert status in re.findall(r"\b\d{3}\b", answer), command
        member = {"200, and the keys": "keys", "200, and the user": "identities"}.get(answer)
        assert not member or json.loads(body)[member], body
        assert "`invalid_request`" not in answer or json.loads(body)["type"] == "urn:cambio:error:invalid_request"


def test_protect_and_providers_the_aws_commands_are_accepted(machine):
    page = "docs/protect-your-api.md"
    install_aws(machine)

    define, issuer, api = (machine.take(page, starts).text for starts in ("output() {", "output IssuerUrl", "API="))
    assert machine.run(f"{define}\n{issuer}").strip() == LOCAL
    machine.run(f"{define}\n{api}")
    assert machine.variables["API"] == LOCAL
    for kind in ("jwt", "lambda", "rest"):
        deploy = machine.take(page, "aws cloudformation deploy").text
        machine.run(f"{define}\n{deploy}")
        assert f"examples/protect/{kind}-authorizer.yaml" in deploy
        template = cfn_yaml.load(f"{ROOT}/examples/protect/{kind}-authorizer.yaml")
        given = [line.split("=")[0] for line in (machine.clone / "deployed").read_text().split()]
        assert given and set(given) <= set(template["Parameters"])

    name_of = machine.take("docs/fronts.md", "name_of() {").text
    assert machine.run(f"{name_of}\nname_of Me").strip() == "cambio-MeFunction-0a1b"
    permission = machine.take("docs/fronts.md", "aws lambda add-permission").text
    machine.run(f"{name_of}\nAPI_ARN=arn:aws:execute-api:eu-central-1:123456789012:a1b2c3\n{permission}")
    machine.run(f"{define}\n{machine.take('docs/fronts.md', 'aws apigatewayv2 update-api').text}")

    command, member = machine.take("docs/providers.md", "aws secretsmanager").text.split("\n\n")
    machine.run(command)
    reference = json.loads(f"{{{member}}}")["client_secret"]
    assert reference.startswith("{{resolve:secretsmanager:cambio/facebook:")
    member = machine.take("docs/providers.md", '"client_secret": "arn').text
    arn = json.loads(f"{{{member}}}")["client_secret"]
    pattern = cfn_yaml.load(f"{ROOT}/template.yaml")["Parameters"]["OAuthProviders"]["AllowedPattern"]
    assert re.fullmatch(pattern, json.dumps([{"name": "facebook", "client_secret": arn}]))
    (machine.clone / "deployed").unlink()


def test_settings_a_variable_of_the_shell_is_a_setting_of_cargo_run(machine):
    machine.install(*RUST)

    server = machine.serve(machine.take("docs/settings.md", "ACCESS_TOKEN_TTL=60").text, LOCAL, seconds=BUILD)

    exchange, _ = printed_commands(server)
    assert json.loads(machine.run(exchange))["expires_in"] == 60


def test_settings_a_wrong_value_is_found_at_the_start(machine):
    machine.install(*RUST)

    printed = machine.run(machine.take("docs/settings.md", "ACCESS_TOKEN_TTL=5").text, fails=True)

    assert shape(printed)[-1:] == shape(machine.take("docs/settings.md", "cambio: ACCESS_TOKEN_TTL").text)


def test_settings_the_check_names_each_wrong_setting(machine):
    machine.install(*RUST)
    install_operator(machine)

    printed = machine.run(machine.take("docs/settings.md", "cat >check.env").text, fails=True)

    shown = machine.take("docs/settings.md", "CLIENTS cannot be used").text.splitlines()
    lines = printed.splitlines()
    for line in shown:
        assert [found for found in lines if found.startswith(line.removesuffix("…"))], printed
    assert "cambio: 2 settings are missing or wrong" in lines
    corrected = (machine.clone / "check.env").read_text().replace("=1h", "=900")
    corrected = corrected.replace('"secret":"3b0c…"', f'"secret_sha256":["{"0" * 63}1"]')
    (machine.clone / "check.env").write_text(corrected)
    assert "valid" in machine.run("cargo run -p admin -- check --file check.env")
    (machine.clone / "check.env").unlink()


def test_troubleshooting_a_wrong_setting_is_answered_as_the_page_shows(machine):
    machine.install(*RUST)
    shown = machine.take("docs/troubleshooting.md", "Error: OIDC_PROVIDERS").text

    printed = machine.run("cargo run", fails=True, OIDC_PROVIDERS='[{"name": "google", "client_id": "1"}]')

    text = shown.removeprefix("Error: ").removesuffix("…")
    assert text in printed


# --- CONTRIBUTING.md, docs/add-a-claim.md, docs/add-a-provider.md -----------------------------------------------------


CARGO_TESTS = [block for page in LISTED for block in blocks(page) if block.starts.startswith("cargo test ")]


@pytest.mark.parametrize("block", CARGO_TESTS, ids=lambda block: f"{block.page}-{block.line}")
def test_each_filter_of_a_page_names_tests(machine, block):
    """`make test-rust` runs all tests; here, cargo lists those that the commands of the pages select."""
    machine.taken.add(block)
    for command in block.commands:
        if not command.startswith("cargo test "):
            continue
        command = without_comment(command)
        filters = command.partition(" -- ")[2].split()
        command += " --list" if filters else " -- --list"
        options = {"cwd": ROOT, "capture_output": True, "text": True}
        listed = subprocess.run(["bash", "-c", command], **options)
        assert listed.returncode == 0, listed.stderr
        assert ": test\n" in listed.stdout
        for word in filters:
            assert re.search(rf"^.*{re.escape(word)}.*: test$", listed.stdout, re.MULTILINE), f"{word} names no test"


def test_each_file_that_a_page_runs_with_node_is_a_test(machine):
    for page, starts in (("CONTRIBUTING.md", "cargo test"), ("docs/add-a-provider.md", "cd clients/next-auth")):
        (block,) = [block for block in blocks(page) if block.starts.startswith(starts)]
        machine.taken.add(block)
        (folder, file), = re.findall(r"^cd (\S+) && node --test (\S+)", block.text, re.MULTILINE)
        assert "test(" in (ROOT / folder / file).read_text() or "scenario(" in (ROOT / folder / file).read_text()


def report(answer):
    """What `rotate-keys` answers, without the times and the names of the keys."""
    return {"changed": answer["changed"], "keys": [(key["state"], sorted(key)) for key in answer["keys"]]}


def test_contributing_and_operate_the_functions_run_in_the_lambda_runtime(machine):
    page = "CONTRIBUTING.md"
    install_aws(machine)
    # "which `make setup` installs into `.venv`"
    (machine.folder / "bin/cargo-lambda").symlink_to(Path(sys.executable).parent / "cargo-lambda")

    services, watch = machine.take(page, "cargo run -- services").commands
    started = machine.serve(services, "http://localhost:9001", seconds=BUILD)
    started.until(lambda: "Ctrl-C stops." in started.output, 30)
    machine.serve(watch, f"{LOCAL}/none", seconds=BUILD)

    me, rest, keys = machine.take(page, "cargo lambda invoke").commands
    services = sorted(path.name for path in (ROOT / "events").iterdir() if path.is_dir())
    assert "events/rest-api/me.json" in rest and "rest-api" in services
    for command in (me, *(rest.replace("rest-api", service) for service in services)):
        assert json.loads(machine.run(command))["statusCode"] == 401, command
    for event in ("rest-api/authorizer", "rest-api/authorizer-token", "http-api-1.0/authorizer"):
        ask = me.replace(" me ", " authorizer ").replace("events/me", f"events/{event}")
        (statement,) = json.loads(machine.run(ask))["policyDocument"]["Statement"]
        assert statement["Effect"] == "Deny", ask
    assert [key["state"] for key in json.loads(machine.run(keys))["keys"]] == ["current", "next"]

    page = "docs/operate.md"
    machine.run(machine.take(page, "export TABLE_NAME").text)
    assert machine.variables["TABLE_NAME"] == LOCAL
    machine.run(machine.take("docs/clients.md", "export KEYS_TABLE_NAME").text)
    assert machine.variables["KEYS_TABLE_NAME"] == LOCAL
    rotate = machine.take(page, "ROTATE=").text

    def answers(command):
        # The function of the page writes the answer to the standard error.
        return json.loads(machine.run(f"{rotate}\n{command} 2>&1"))

    def shows(starts):
        return report(json.loads(machine.take(page, starts).text))

    first = answers(machine.take(page, "rotate '{}'").text)
    assert report(first) == shows('{"changed":false')
    assert report(answers(machine.take(page, "rotate '{\"rotate\":\"now\"}'").text)) == shows('{"changed":true')
    current, following = (key["kid"] for key in first["keys"])
    # "Revoke the next key first", then the current one.
    revoke = machine.take(page, "rotate '{\"revoke\":\"<kid of").text
    revoked = answers(revoke.replace("<kid of the next key>", following))
    assert following not in [key["kid"] for key in revoked["keys"]]
    revoked = answers(machine.take(page, "rotate '{\"revoke\":\"<kid>").text.replace("<kid>", current))
    assert report(revoked) == shows('{"changed":true')
    assert current not in [key["kid"] for key in revoked["keys"]]
    assert report(answers(machine.take(page, "rotate '{}'").text))["changed"] is False


# --- The account ------------------------------------------------------------------------------------------------------


def test_each_block_that_is_walked_was_taken(machine, request):
    """Runs last, and with all of the walks only."""
    if request.config.option.keyword or any("::" in argument for argument in request.config.args):
        pytest.skip("not all walks ran")
    listed = [(block, entry) for page, entries in LISTED.items() for block, entry in zip(blocks(page), entries)]
    walked = {str(block) for block, entry in listed if isinstance(entry, Walked)}
    assert walked == {str(block) for block in machine.taken}
