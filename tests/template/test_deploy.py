"""docs/deploy.md, walked to where AWS takes over.

The commands run as they stand on the page, in a copy of the tree. `sam` is the real one, and a server on this machine
takes its calls in place of AWS. Compiling is left to tests/cold-start: here, `cargo lambda build` checks its options
and makes an empty binary. `aws` checks its command line against the service models that the AWS CLI is built from.
"""

import hashlib
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
import tomllib
import urllib.parse
from pathlib import Path

import pytest
import yaml
from cfnlint.decode import cfn_yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs/deploy.md").read_text()

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/release")]
sys.path.insert(0, str(Path(__file__).parent))
import dist  # noqa: E402
from release import version_of  # noqa: E402
from test_template import load, refusals  # noqa: E402
from tree_copy import mirror, tracked_files  # noqa: E402

CLOUDFORMATION = 'xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"'
# The stack in which SAM keeps its bucket.
SAM_STACK = f"""<DescribeStacksResponse {CLOUDFORMATION}><DescribeStacksResult><Stacks><member>
<StackName>aws-sam-cli-managed-default</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>
<StackStatus>CREATE_COMPLETE</StackStatus>
<Tags><member><Key>ManagedStackSource</Key><Value>AwsSamCli</Value></member></Tags>
<Outputs><member><OutputKey>SourceBucket</OutputKey><OutputValue>bucket</OutputValue></member></Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
CALLER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/test</Arn><UserId>test</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
REFUSAL = f"""<ErrorResponse {CLOUDFORMATION}><Error><Type>Sender</Type><Code>ValidationError</Code>
<Message>Stack with id {{}} does not exist</Message></Error></ErrorResponse>"""


class Aws(http.server.ThreadingHTTPServer):
    """Answers SAM until it creates the change set, which is refused, and any other request with an empty object."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls, self.uploads, self.requests, self.applications = [], [], [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def parameters(self):
        """The parameters of the last change set, by name."""
        call = [call for call in self.calls if call["Action"] == "CreateChangeSet"][-1]
        prefixes = [key.removesuffix("ParameterKey") for key in call if key.endswith(".ParameterKey")]
        return {call[p + "ParameterKey"]: call[p + "ParameterValue"] for p in prefixes}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def answer(self):
        body, status, text = self.body(), 200, "{}"
        form = dict(urllib.parse.parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        if action := form.get("Action"):
            self.server.calls.append(form)
            answers = {"aws-sam-cli-managed-default": SAM_STACK, "GetCallerIdentity": CALLER}
            known = answers.get(form.get("StackName", action))
            status, text = (200, known) if known else (400, REFUSAL.format(form.get("StackName")))
        elif self.path.startswith(("/bucket/", "/my-bucket/")):
            status, text = (404 if self.command == "HEAD" else 200), ""
            self.server.uploads += [self.path] * (self.command == "PUT")
        elif (self.command, self.path) == ("POST", "/applications"):
            self.server.applications.append(json.loads(body))
            text = '{"applicationId": "arn:aws:serverlessrepo:eu-central-1:123456789012:applications/cambio"}'
        else:
            self.server.requests.append((self.command, self.path, self.headers.get("Authorization"), form))
        self.send_response(status)
        self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = answer


# --- The commands that are not the real ones --------------------------------------------------------------------------

CARGO = """#!/bin/bash
# cargo: compiles nothing.
set -euo pipefail
case "$1 ${2:-}" in
"lambda build")
    "$TEST_BIN/cargo-lambda" "$@" --help >/dev/null # fails for an unknown option
    echo "$PWD $*" >>"$TEST_LOG"
    while [ $# -gt 0 ]; do
        case $1 in --bin | --package) name=$2 ;; esac
        shift
    done
    mkdir -p "$CARGO_TARGET_DIR/lambda/$name"
    cp "$(readlink -f /bin/true)" "$CARGO_TARGET_DIR/lambda/$name/bootstrap"
    ;;
"lambda deploy") "$TEST_BIN/cargo-lambda" "$@" --dry-run --lambda-dir "$CARGO_TARGET_DIR/lambda" </dev/null ;;
"metadata "*) exec "$TEST_CARGO" "$@" ;;
"run -p") # the operator's command
    shift 4
    echo "TABLE_NAME=${TABLE_NAME:-} $*" >>"$TEST_ADMIN_LOG"
    ;;
*) echo "unexpected: cargo $*" >&2 && exit 1 ;;
esac
"""

AWS = r'''#!{python}
"""aws: accepts the command lines that the AWS CLI accepts, and prints what the page's next command needs."""
import json, os, re, sys
from botocore import session, validate, xform_name

service, operation, *rest = sys.argv[1:]
if (service, operation) == ("s3", "rm"):  # a command of the CLI's own, in no model
    sys.exit(rest != ["--recursive", "s3://…"])
if (service, operation) == ("logs", "tail"):  # likewise
    options = {{word for word in rest if word.startswith("--")}}
    sys.exit(not rest[0].startswith("/") or not options <= {{"--follow", "--format", "--filter-pattern"}})
if operation == "wait":
    waiters = session.get_session().get_waiter_model(service)
    waits = {{xform_name(name, "-"): waiters.get_waiter(name).operation for name in waiters.waiter_names}}
    operation = xform_name(waits[rest.pop(0)], "-")
model = session.get_session().get_service_model(service)
names = {{xform_name(name, "-"): name for name in model.operation_names}}
if operation not in names:
    sys.exit(f"aws {{service}}: no operation {{operation}}")
shape = model.operation_model(names[operation]).input_shape
members = {{xform_name(name, "-"): name for name in shape.members}}
given, positional = set(), []
while rest:
    word = rest.pop(0)
    if not word.startswith("--"):
        positional.append(word)
        continue
    option = word[2:]
    if option in ("query", "output", "region", "cli-binary-format"):
        rest.pop(0)
        continue
    member = members.get(option) or members.get(option.removeprefix("no-"))
    if member is None:
        sys.exit(f"aws {{service}} {{operation}}: no option {{word}}")
    given.add(member)
    if shape.members[member].type_name == "boolean":
        continue
    value = rest.pop(0)
    if value.startswith("{{") and shape.members[member].type_name == "structure":
        errors = validate.ParamValidator().validate(json.loads(value), shape.members[member])
        if errors.has_errors():
            sys.exit(f"aws {{service}} {{operation}} {{word}}: {{errors.generate_report()}}")
if missing := set(shape.required_members) - given:
    sys.exit(f"aws {{service}} {{operation}}: {{missing}} missing")
if len(positional) != (operation == "invoke"):
    sys.exit(f"aws {{service}} {{operation}}: {{positional}}")
printed = {{"describe-stacks": "{url}", "describe-stack-resource": "cambio-MeFunction-0a1b"}}
# The CLI exits with 0 in either case.
printed["invoke"] = os.environ.get("TEST_FUNCTION_ERROR", "None")
print(printed.get(operation, "{{}}"))
'''


@pytest.fixture
def aws():
    with Aws() as server:
        yield server
        server.shutdown()


@pytest.fixture
def tree(tmp_path):
    """A fresh clone, with what the page says installed, and the archive of a release, whose binaries are empty."""
    mirror(ROOT, tmp_path / "cambio", tracked_files(ROOT))
    binaries = {name: Path("/bin/true").read_bytes() for name in dist.functions((ROOT / "template.yaml").read_text())}
    folder, _ = dist.make(binaries, {}, "arm64", tmp_path / "cambio")
    shutil.rmtree(folder)
    return tmp_path / "cambio"


@pytest.fixture
def env(aws, tree, tmp_path):
    tools, url = tmp_path / "bin", f"http://127.0.0.1:{aws.server_port}"
    tools.mkdir()
    for name, text in (("cargo", CARGO), ("aws", AWS.format(python=sys.executable, url=url))):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_"))},
        "PATH": f"{tools}:{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        "CARGO_NET_OFFLINE": "true",
        "CARGO_TARGET_DIR": str(tree / "target"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INDEX": "1",
        "SAM_CLI_TELEMETRY": "0",
        "TEST_BIN": str(BIN),
        "TEST_CARGO": shutil.which("cargo"),
        "TEST_LOG": str(tmp_path / "cargo.log"),
        "TEST_ADMIN_LOG": str(tmp_path / "admin.log"),
    }


# --- The page ---------------------------------------------------------------------------------------------------------


def blocks(page):
    """The code blocks of a page: indented lines after an empty one, without their indentation."""
    found, lines, after_empty = [], [], False
    for line in [*page.splitlines(), ""]:
        # A step's text is indented as well, by three columns; its blocks by seven.
        if re.match(r"( {4}| {7})\S", line) and (after_empty or lines):
            lines.append(line)
        elif lines and line.startswith(" " * 6) and line.strip():
            lines.append(line)
        elif lines:
            indent = re.match(" *", lines[0]).end()
            found.append("\n".join(line[indent:] for line in lines))
            lines = []
        after_empty = not line.strip()
    return found


SAM_REFUSED = "Failed to create changeset"
FIRST = {"GitHubClientId": "Ov23li0123456789abcd", "GitHubClientSecret": "the-secret"}
HASH = "[0-9a-f]{64}"


def shown(block):
    """The block is what a command prints, or what to look for; it is no command."""
    return (block, None, None)


def runs(block, check=None, fails=None):
    """The block runs; `fails` is the text with which it ends where AWS takes over. `check` gets the walk."""
    return (block, check or (lambda walk: None), fails)


def writes(block, check):
    """The block goes to the end of samconfig.toml."""
    return (block, check, "samconfig.toml")


def deploys(**wanted):
    """Returns a check that the change set has these parameters and no other. `HASH` stands for 64 hex digits."""

    def check(walk):
        sent = walk.aws.parameters()
        assert set(sent) == set(wanted), sent
        for name, value in wanted.items():
            assert re.fullmatch(HASH, sent[name]) if value == HASH else sent[name] == value, name
        assert [c for c in walk.aws.calls if "ChangeSetType" in c][-1]["Capabilities.member.1"] == "CAPABILITY_IAM"
        assert walk.aws.calls[-1]["StackName"] == "cambio"

    return check


def deploys_waf(walk):
    """CloudFront and WAF are a stack of their own, in front of the API's host."""
    host = walk.aws.server_address
    assert walk.aws.parameters() == {"ApiHost": f"127.0.0.1:{host[1]}", "TrustedAddresses": "203.0.113.7/32"}
    assert walk.aws.calls[-1]["StackName"] == "cambio-waf"


def tags(**wanted):
    """Returns a check that the change set has these tags."""

    def check(walk):
        call = [call for call in walk.aws.calls if call["Action"] == "CreateChangeSet"][-1]
        keys = [key for key in call if re.fullmatch(r"Tags\.member\.\d+\.Key", key)]
        assert {call[key]: call[key.removesuffix("Key") + "Value"] for key in keys} == wanted

    return check


def stage(name, **wanted):
    """Returns a check that the change set is one of the stage's stack, with these parameters and its tags."""

    def check(walk):
        assert walk.aws.parameters() == wanted
        assert walk.aws.calls[-1]["StackName"] == f"cambio-{name}"
        tags(app="cambio", stage=name)(walk)

    return check


def prints(expected):
    def check(walk):
        assert re.fullmatch(expected, walk.printed.strip()), walk.printed

    return check


def built(architecture):
    def check(walk):
        log = Path(walk.env["TEST_LOG"])
        lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
        log.unlink()
        flags = "--release --arm64" if architecture == "arm64" else "--release"
        functions = {path.parent.name for path in ROOT.glob("functions/*/Cargo.toml")}
        assert {command for _, command in lines} == {f"lambda build {flags} --bin {name}" for name in functions}
        # Each build runs in the folder of its crate, and so has the features of this crate alone.
        assert all(Path(folder).name == command.split()[-1] for folder, command in lines)

    return check


def built_and(architecture, check):
    def both(walk):
        built(architecture)(walk)
        check(walk)

    return both


def uploaded_and_entered(check):
    """Returns a check that SAM uploaded the ZIPs of the release, and stays in its folder for the next blocks."""

    def both(walk):
        check(walk)
        assert not Path(walk.env["TEST_LOG"]).exists(), "something was compiled"
        (walk.folder,) = [path for path in walk.tree.glob("cambio-*-arm64") if path.is_dir()]
        zips = list(walk.folder.glob("*.zip"))
        # SAM names an upload by the MD5 of its bytes.
        uploaded = {f"/bucket/{hashlib.md5(path.read_bytes()).hexdigest()}" for path in zips}
        assert len(zips) >= 9 and uploaded <= set(walk.aws.uploads)

    return both


def is_publishable(walk):
    template = cfn_yaml.load(str(walk.folder / "packaged.yaml"))
    about = template["Metadata"]["AWS::ServerlessRepo::Application"]
    functions = [each for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    assert len(functions) >= 9
    named = [about["LicenseUrl"], about["ReadmeUrl"], *(each["Properties"]["CodeUri"] for each in functions)]
    assert all(url.startswith("s3://my-bucket/") for url in named), named


def published_and_left(walk):
    (application,) = walk.aws.applications
    assert application["name"] == "cambio" and application["semanticVersion"] == version_of(ROOT)
    assert "s3://my-bucket/" in application["templateBody"] and "Publish Succeeded" in walk.printed
    walk.folder = walk.tree


def operates(wanted):
    """Returns a check that the operator's command had these arguments. tests/walk runs the command itself."""

    def check(walk):
        log = Path(walk.env["TEST_ADMIN_LOG"])
        url = f"http://127.0.0.1:{walk.aws.server_port}"
        assert log.read_text().splitlines()[-1].split(" ", 1)[1] == wanted.format(url=url)

    return check


def requests(*wanted):
    def check(walk):
        made, walk.aws.requests[:] = list(walk.aws.requests), []
        paths = yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"]
        assert [(method, path) for method, path, _, _ in made] == list(wanted)
        assert all(method.lower() in paths[path] for method, path in wanted)

    return check


def file_has(**wanted):
    def check(walk):
        config = tomllib.loads((walk.tree / "samconfig.toml").read_text())
        assert config["default"]["deploy"]["parameters"]["parameter_overrides"] == wanted

    return check


SECRET_ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cambio/github-AbCdEf"
REFERENCE = "{{resolve:secretsmanager:cambio/github:SecretString:client_secret}}"
GOOGLE = '[{"name": "google", "client_ids": ["1234.apps.googleusercontent.com"]}]'

KMS_KEYS = {
    "DataKmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d",
    "KeysKmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/4e5f6a7b",
}
DOMAIN = {
    "ApiCertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d",
    "HostedZoneId": "Z0123456789ABCDEFGHIJ",
}
DOCUMENTS_DOMAIN = {
    "PublishDocuments": "true",
    "IssuerUrl": "https://auth.example.com",
    "DocumentsCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/4e5f6a7b",
}

MAKE_KEYS = (
    'aws lambda invoke --function-name "$(aws cloudformation describe-stack-resource --stack-name cambio \\\n'
    '  --logical-resource-id RotateKeysFunction --query StackResourceDetail.PhysicalResourceId --output text)" \\\n'
    "  --query FunctionError --output text /dev/stderr | grep -x None"
)

# Each code block of the page, in its order. A block that changes, comes or goes is walked again here.
WALK = [
    runs("read -rs GITHUB_SECRET"),
    runs(
        "tar xzf cambio-*-arm64.tar.gz && cd cambio-*-arm64/ && sha256sum --check --quiet SHA256SUMS\n"
        'SECRET=$(openssl rand -hex 32); echo "$SECRET"\n'
        'sam deploy --parameter-overrides GitHubClientId=Ov23li0123456789abcd GitHubClientSecret="$GITHUB_SECRET" \\\n'
        "  ClientSecretSha256=\"$(printf %s \"$SECRET\" | sha256sum | cut -d' ' -f1)\"",
        uploaded_and_entered(deploys(**FIRST, ClientSecretSha256=HASH)),
        SAM_REFUSED,
    ),
    # GitHub keeps the attestations.
    shown("gh attestation verify cambio-*-arm64.tar.gz --repo OWNER/REPOSITORY"),
    runs("sam package --s3-bucket my-bucket --output-template-file packaged.yaml", is_publishable),
    runs("sam publish --template packaged.yaml", published_and_left),
    # Installed already: `test_the_page_installs_what_the_tests_run`.
    shown(
        "python3 -m venv .venv && . .venv/bin/activate\npip install cargo-lambda==1.9.2 aws-sam-cli==1.170.0"
    ),
    runs(
        "SECRET=$(openssl rand -hex 32)\n"
        "HASH=$(printf %s \"$SECRET\" | sha256sum | cut -d' ' -f1)\n"
        'echo "$SECRET"',
        prints(HASH),
    ),
    runs("read -rs GITHUB_SECRET"),
    runs(
        "sam build\n"
        'sam deploy --parameter-overrides GitHubClientId=Ov23li0123456789abcd GitHubClientSecret="$GITHUB_SECRET" \\\n'
        '  ClientSecretSha256="$HASH"',
        built_and("arm64", deploys(**FIRST, ClientSecretSha256=HASH)),
        SAM_REFUSED,
    ),
    writes(
        f"ClientSecretSha256 = \"<64 hex digits>\"\nOidcProviders = '{GOOGLE}'",
        file_has(ClientSecretSha256="<64 hex digits>", OidcProviders=GOOGLE),
    ),
    runs(
        "sam build\nsam deploy",
        built_and("arm64", deploys(ClientSecretSha256="<64 hex digits>", OidcProviders=GOOGLE)),
        SAM_REFUSED,
    ),
    # `test_guided_deployment_reaches_its_last_question`.
    shown("sam build\nsam deploy --guided"),
    runs(
        "API=$(aws cloudformation describe-stacks --stack-name cambio \\\n"
        "  --query \"Stacks[0].Outputs[?OutputKey=='ApiUrl'].OutputValue\" --output text)"
    ),
    runs(
        'export SECRET\ncargo run -p admin -- doctor "$API" --client nextjs --secret-env SECRET',
        operates("doctor {url} --client nextjs --secret-env SECRET"),
    ),
    runs(
        'curl -s "$API/.well-known/openid-configuration"\ncurl -s "$API/.well-known/jwks.json"',
        requests(("GET", "/.well-known/openid-configuration"), ("GET", "/.well-known/jwks.json")),
    ),
    runs(
        'for path in /me /me/sessions /me/identities; do curl -s "$API$path"; echo; done',
        requests(("GET", "/me"), ("GET", "/me/sessions"), ("GET", "/me/identities")),
    ),
    shown(
        '{"detail":"an access token is required in the Authorization header","status":401,"title":"Unauthorized",'
        '"type":"urn:cambio:error:invalid_request"}'
    ),
    runs('curl -s -u "nextjs:$SECRET" -d grant_type=none "$API/token"', requests(("POST", "/token"))),
    shown(
        '{"error":"unsupported_grant_type","error_description":"grant_type must be '
        'urn:ietf:params:oauth:grant-type:token-exchange or refresh_token"}'
    ),
    runs(
        'curl -s -u "nextjs:$SECRET" -d token=none "$API/introspect"\n'
        "curl -s -o /dev/null -w '%{http_code}\\n' -u \"nextjs:$SECRET\" -d token=none \"$API/revoke\"",
        requests(("POST", "/introspect"), ("POST", "/revoke")),
    ),
    runs(
        "sam build --parameter-overrides Architecture=x86_64\nsam deploy --parameter-overrides Architecture=x86_64",
        built_and("x86_64", deploys(Architecture="x86_64")),
        SAM_REFUSED,
    ),
    runs("aws secretsmanager create-secret --name cambio/github --secret-string '{\"client_secret\":\"…\"}'"),
    runs(
        f"sam deploy --parameter-overrides Revision=2 \\\n  GitHubClientSecret={SECRET_ARN}:client_secret \\\n  SecretArns={SECRET_ARN}",
        deploys(GitHubClientSecret=f"{SECRET_ARN}:client_secret", SecretArns=SECRET_ARN, Revision="2"),
        SAM_REFUSED,
    ),
    runs("aws secretsmanager put-secret-value --secret-id cambio/github --secret-string '{\"client_secret\":\"…\"}'"),
    runs(
        f"sam deploy --parameter-overrides Revision=2 \\\n  GitHubClientSecret='{REFERENCE}'",
        deploys(GitHubClientSecret=REFERENCE, Revision="2"),
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --parameter-overrides ApiDomain=auth.example.com HostedZoneId=Z0123456789ABCDEFGHIJ \\\n"
        "  ApiCertificateArn=arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d",
        deploys(ApiDomain="auth.example.com", **DOMAIN),
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --parameter-overrides PublishDocuments=true IssuerUrl=https://auth.example.com \\\n"
        "  DocumentsCertificateArn=arn:aws:acm:us-east-1:123456789012:certificate/4e5f6a7b \\\n"
        "  ApiDomain=api.example.com ApiCertificateArn=arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d \\\n"
        "  HostedZoneId=Z0123456789ABCDEFGHIJ",
        deploys(ApiDomain="api.example.com", **DOMAIN, **DOCUMENTS_DOMAIN),
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --template-file templates/waf.yaml --stack-name cambio-waf --region us-east-1 --parameter-overrides \\\n"
        '  ApiHost="${API#*//}" TrustedAddresses=203.0.113.7/32',
        deploys_waf,
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --parameter-overrides IssuerUrl=https://d0123456789abc.cloudfront.net",
        deploys(IssuerUrl="https://d0123456789abc.cloudfront.net"),
        SAM_REFUSED,
    ),
    # A statement of a key's policy.
    shown(
        '{\n  "Effect": "Allow",\n  "Principal": {"Service": "logs.eu-central-1.amazonaws.com"},\n'
        '  "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],\n'
        '  "Resource": "*",\n  "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": '
        '"arn:aws:logs:eu-central-1:123456789012:*"}}\n}'
    ),
    runs(
        "sam deploy --parameter-overrides DataKmsKeyArn=arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d \\\n"
        "  KeysKmsKeyArn=arn:aws:kms:eu-central-1:123456789012:key/4e5f6a7b",
        deploys(**KMS_KEYS),
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --tags team=identity environment=production",
        tags(team="identity", environment="production"),
        SAM_REFUSED,
    ),
    runs(
        "sam build && sam deploy --config-env dev",
        built_and("arm64", stage("dev", DeletionProtection="false", LogLevel="debug", LogRetentionDays="7")),
        SAM_REFUSED,
    ),
    runs("sam deploy --config-env prod", stage("prod", LogRetentionDays="365"), SAM_REFUSED),
    writes('AccessTokenTtl = "600"', file_has(AccessTokenTtl="600")),
    runs("sam deploy", deploys(AccessTokenTtl="600"), SAM_REFUSED),
    runs("sam deploy --parameter-overrides AccessTokenTtl=900", deploys(AccessTokenTtl="900"), SAM_REFUSED),
    runs("sam build && sam deploy", built_and("arm64", deploys(AccessTokenTtl="600")), SAM_REFUSED),
    runs(
        "cargo lambda build --release --arm64 --package me\n"
        'cargo lambda deploy --binary-name me --alias live "$(aws cloudformation describe-stack-resource --stack-name cambio \\\n'
        '  --logical-resource-id MeFunction --query StackResourceDetail.PhysicalResourceId --output text)"'
    ),
    runs("sam deploy --parameter-overrides Canary=false", deploys(Canary="false"), SAM_REFUSED),
    runs("sam deploy --parameter-overrides Canary=true", deploys(Canary="true"), SAM_REFUSED),
    runs(
        'sam deploy --parameter-overrides ClientSecretSha256Next="$HASH"',
        deploys(ClientSecretSha256Next=HASH),
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --parameter-overrides ClientSecretSha256=\"$HASH\" ClientSecretSha256Next='\"\"'",
        deploys(ClientSecretSha256=HASH, ClientSecretSha256Next=""),
        SAM_REFUSED,
    ),
    runs(
        'read -rs GITHUB_SECRET\nsam deploy --parameter-overrides GitHubClientSecret="$GITHUB_SECRET" Revision=2',
        deploys(GitHubClientSecret="the-secret", Revision="2"),
        SAM_REFUSED,
    ),
    runs(
        "sam deploy --parameter-overrides RequestMetrics=true Tracing=true",
        deploys(RequestMetrics="true", Tracing="true"),
        SAM_REFUSED,
    ),
    runs(MAKE_KEYS, prints("None")),
    shown('{"changed":true,"keys":[{"kid":"…","state":"current",…},{"kid":"…","state":"next",…}]}'),
    runs("aws s3 rm --recursive s3://…"),
    runs("sam delete --stack-name cambio", fails="Are you sure you want to delete the stack cambio"),
    runs(
        "aws dynamodb update-table --table-name … --no-deletion-protection-enabled\n"
        "aws dynamodb delete-table --table-name …"
    ),
    runs("aws cloudwatch describe-alarms --alarm-name-prefix cambio --state-value ALARM --query MetricAlarms"),
]


VARIABLES = "SECRET HASH GITHUB_SECRET API TABLE TABLE_NAME"


class Walk:
    """One shell, which keeps its variables from block to block."""

    def __init__(self, aws, tree, env):
        self.aws, self.tree, self.env, self.printed = aws, tree, env, ""
        self.folder = tree
        self.state = tree.parent / "variables"
        self.config = (tree / "samconfig.toml").read_text()

    def run(self, block, fails):
        # `read` gets a line; nothing else reads the terminal.
        script = f"touch {self.state}; . {self.state}\n{block}\nstatus=$?; declare -p {VARIABLES} "
        script += f">{self.state} 2>/dev/null; exit $status"
        options = {"cwd": self.folder, "env": self.env, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(["bash", "-c", script], input="the-secret\n", **options)
        self.printed = done.stdout
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == bool(fails), f"{block}\n{said}"
        assert not fails or fails in said, f"{block}\n{said}"

    def write(self, block):
        (self.tree / "samconfig.toml").write_text(f"{self.config}{block}\n")


def test_every_block_of_the_page_is_walked():
    assert blocks(PAGE) == [block for block, _, _ in WALK]


def test_the_walk_reaches_aws_as_the_page_says(aws, tree, env):
    walk = Walk(aws, tree, env)

    for block, check, how in WALK:
        if check is None:
            continue
        walk.write(block) if how == "samconfig.toml" else walk.run(block, how)
        check(walk)

    assert len(walk.aws.uploads) > 10
    assert "the-secret" not in (tree / "samconfig.toml").read_text()


def test_an_error_of_the_function_is_no_success(aws, tree, env):
    walk = Walk(aws, tree, env | {"TEST_FUNCTION_ERROR": "Unhandled"})
    operate = next(block for block in blocks((ROOT / "docs/operate.md").read_text()) if block.startswith("ROTATE="))
    output = load()["Outputs"]["MakeFirstKey"]["Value"]["Fn::Sub"]
    output = output.replace("${AWS::Region}", "eu-central-1").replace("${RotateKeysFunction}", "f")
    for command in (MAKE_KEYS, f"{operate}\nrotate '{{}}'", output):
        assert "aws lambda invoke" in command
        Walk(aws, tree, env).run(command, None)
        failed = subprocess.run(["bash", "-c", command], cwd=tree, env=walk.env, capture_output=True, timeout=300)
        assert failed.returncode == 1, command


def test_the_page_installs_what_the_tests_run(env):
    (installed,) = [line for block in blocks(PAGE) for line in block.splitlines() if line.startswith("pip install ")]
    assert installed in (ROOT / "README.md").read_text()
    wanted = re.findall(r"[\w-]+==[\w.]+\w", PAGE)
    assert set(wanted) == {word for word in installed.split() if "==" in word}
    assert set(wanted) <= set((ROOT / "tests/requirements.txt").read_text().split())
    # Offline: fails unless these versions are there.
    command = [BIN / "python", "-m", "pip", "install", "--dry-run", "--quiet", *wanted]
    assert subprocess.run(command, env=env).returncode == 0


def test_the_first_deployments_of_the_pages_are_accepted_by_the_rules():
    template = load()
    assert refusals(template, {**FIRST, "ClientSecretSha256": "0" * 64}) == []
    assert refusals(template, {"ClientSecretSha256": "0" * 64, "OidcProviders": GOOGLE}) == []
    stack = {**FIRST, "ClientSecretSha256": "0" * 64}
    assert refusals(template, {**stack, **KMS_KEYS}) == []
    assert refusals(template, {**stack, "ApiDomain": "auth.example.com", **DOMAIN}) == []
    assert refusals(template, {**stack, "ApiDomain": "api.example.com", **DOMAIN, **DOCUMENTS_DOMAIN}) == []


def test_the_readme_deploys_as_the_page_does(aws, tree, env):
    (block,) = [b for b in blocks((ROOT / "README.md").read_text()) if "sam deploy" in b]
    _, *commands = block.splitlines()
    walk = Walk(aws, tree, env)

    walk.run("\n".join(commands), SAM_REFUSED)

    built_and("arm64", deploys(**FIRST, ClientSecretSha256=HASH))(walk)


def test_a_page_that_says_something_else_is_noticed():
    page = "Text\n\n1. Do:\n\n       a \\\n         b\n\n   And:\n\n       c\n\n2. x\n   y\n\n    d\n    e\n"
    assert blocks(page) == ["a \\\n  b", "c", "d\ne"]
    assert blocks(PAGE.replace("sam build && sam deploy", "sam build --cached && sam deploy")) != blocks(PAGE)


# --- samconfig.toml and --guided --------------------------------------------------------------------------------------


def test_the_committed_configuration_holds_no_setting_and_no_secret():
    tracked = subprocess.run(["git", "check-ignore", "samconfig.toml"], cwd=ROOT, capture_output=True, text=True)
    assert tracked.stdout == ""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    deploy = {"capabilities": "CAPABILITY_IAM", "confirm_changeset": True, "resolve_s3": True}

    def stage(name, **parameters):
        of_stage = {**deploy, "tags": f"app=cambio stage={name}", "parameter_overrides": parameters}
        return {
            "global": {"parameters": {"stack_name": f"cambio-{name}"}},
            "deploy": {"parameters": of_stage},
        }

    dev = stage("dev", DeletionProtection="false", LogLevel="debug", LogRetentionDays="7")
    dev["deploy"]["parameters"]["confirm_changeset"] = False
    assert config == {
        "version": 0.1,
        "dev": dev,
        "staging": stage("staging"),
        "prod": stage("prod", LogRetentionDays="365"),
        "default": {
            "global": {"parameters": {"stack_name": "cambio"}},
            "deploy": {"parameters": {**deploy, "parameter_overrides": {}}},
        },
    }
    # Text that is appended to the file goes to the stack without a stage.
    assert list(config)[-1] == "default"


class Terminal:
    """`sam` at a terminal of its own."""

    def __init__(self, command, folder, env):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, env)

    def until(self, pattern, seconds=60):
        """Reads up to the text that matches `pattern`, and returns the match."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"nothing like {pattern!r} in {seconds} s: {self.seen[-500:]}"
            try:
                read = os.read(self.fd, 65536)
            except OSError:
                read = b""
            assert read, f"ended before {pattern!r}: {self.seen[-1500:]}"
            self.seen += re.sub(r"\x1b\[[0-9;]*m", "", read.decode(errors="replace"))
        self.seen = self.seen[found.end() :]
        return found

    def type(self, text, hidden=False):
        # The terminal drops a text that arrives before it stops to echo.
        while hidden and termios.tcgetattr(self.fd)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(self.fd, text.encode() + b"\n")

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def guided(folder, env, answers):
    """Answers each question of `sam deploy --guided` with `answers` or Enter. Returns the questions in their order."""
    terminal, asked = Terminal(["sam", "deploy", "--guided"], folder, env), []
    hidden = [name for name, parameter in load()["Parameters"].items() if parameter.get("NoEcho")]
    try:
        while True:
            question = r"\t(?:Parameter (\w+)|([A-Z][\w ,]+?))(?: \[(.*?)\])?: ?$|(Looking for resources needed)"
            found = terminal.until(question, 120)
            if found[4]:
                print(terminal.until("(?s).*Error: .+", 120)[0])
                return asked
            name = found[1] or found[2]
            # A question that comes again and again would make the test last for ever.
            assert asked.count(name) < 2, f"SAM asks for {name} again"
            asked.append(name)
            terminal.type(answers.get(name, ""), hidden=name in hidden)
    finally:
        terminal.close()


def test_guided_deployment_reaches_its_last_question(aws, tree, env):
    answers = {**FIRST, "ClientSecretSha256": "0" * 64}

    asked = guided(tree, env, answers)

    parameters = load()["Parameters"]
    assert asked[:2] == ["Stack Name", "AWS Region"]
    assert asked[2 : 2 + len(parameters)] == list(parameters)
    assert asked[-1] == "SAM configuration environment"
    # SAM went on to AWS with the answers, which the rules accept.
    sent = aws.parameters()
    assert {name: sent[name] for name in answers} == answers
    assert refusals(load(), sent) == []


def test_guided_deployment_without_github_reaches_its_last_question(aws, tree, env):
    answers = {"GitHubClientSecret": "none", "ClientSecretSha256": "0" * 64, "OidcProviders": GOOGLE}

    guided(tree, env, answers)

    sent = aws.parameters()
    assert sent["OidcProviders"] == GOOGLE
    assert refusals(load(), sent) == []


def test_guided_deployment_writes_no_secret(aws, tree, env):
    guided(tree, env, {**FIRST, "ClientSecretSha256": "0" * 64})

    text = (tree / "samconfig.toml").read_text()
    assert "the-secret" not in text
    # The answers are there for the next `sam deploy`, which sends no secret and leaves the stack's as it is.
    config = tomllib.loads(text)["default"]["deploy"]["parameters"]
    assert 'ClientSecretSha256="0000' in config["parameter_overrides"]
    assert "GitHubClientSecret" not in config["parameter_overrides"]
    assert config["capabilities"] == "CAPABILITY_IAM"
