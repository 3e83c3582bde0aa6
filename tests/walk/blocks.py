"""Each code block of each page, in its order, with what runs, compiles or compares it.

A block that comes, goes or moves needs its line here. A block begins with the text that its line names:

- `Walked`: test_walk.py takes it from the page and runs it, or compares it with what a command prints;
- `Checked`: test_blocks.py takes it from the page and compares it with the code;
- `Tested`: another test takes it from the page; the file and a text that it contains;
- `Shown`: nothing here can run or check it, for the reason given. Its whole text is here, so that a change is noticed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Walked:
    starts: str


@dataclass(frozen=True)
class Checked:
    starts: str


@dataclass(frozen=True)
class Tested:
    __test__ = False  # pytest takes it for a test by its name
    starts: str
    file: str
    contains: str


@dataclass(frozen=True)
class Shown:
    text: str
    why: str
    # Of a block that is too long to be repeated; `text` is its first line then.
    sha256: str | None = None

    @property
    def starts(self) -> str:
        return self.text


def deploy(starts):
    return Tested(starts, "tests/template/test_deploy.py", "assert blocks(PAGE) == [block for block, _, _ in WALK]")


def query(starts, contains):
    return Tested(starts, "tests/e2e/operate.rs", contains)


def made(starts, contains):
    """No test runs the block, which takes hours, an account or the network: test_commands.py parses it by `make -n`.

    The text is in the recipe of its target.
    """
    return Tested(starts, "Makefile", contains)


def release(starts, contains):
    return Tested(starts, "tests/release/test_release.py", contains)


def route(starts):
    return Tested(starts, "tests/add-a-route/test_add_a_route.py", "for command, expected in found:")


def app(starts):
    return Tested(starts, "tests/browser/readme.test.mjs", "writeFiles(app, filesOf(sectionOf(section)))")


def install(starts):
    return Tested(starts, "tests/browser/readme.test.mjs", "npm install (.+)")


def compiled(starts):
    return Tested(starts, "clients/next-auth/test/package.test.mjs", "each other example of the README compiles")


def program(starts):
    return Tested(starts, "tests/interop/stacks.mjs", "writeFiles(")


def commands(starts, contains):
    return Tested(starts, "tests/interop/stacks.mjs", contains)


def tried(starts):
    return Tested(starts, "tests/interop/try.test.mjs", 'commands("### Try a program")')


def setting(starts):
    return Tested(starts, "tests/e2e/described.rs", "each_example_of_the_documentation_is_a_valid_setting")


BLOCKS = {
    "CONTRIBUTING.md": [
        Tested("make setup", ".ci/run", "section setup make setup"),
        Walked("cargo test --workspace --lib"),
        made("make test-dynamodb URL", "run.py --url $(URL) $(if $(PROFILE),--profile $(PROFILE))"),
        Walked("cargo run -- services"),
        Walked("cargo lambda invoke me"),
        Tested("python3 tests/cold-start/cold_start.py", "tests/cold-start/test_budgets.py", "cold_start.py --all --write"),
        made("make fuzz FUZZ=", "python3 fuzz/fuzz.py $(FUZZ)"),
        made("make release-dry-run", "python3 tests/release/release.py --dry-run $(VERSION)"),
        release("make release VERSION", "def test_a_release_checks_commits_and_tags_and_pushes_nothing"),
        release("Released here.", '"git push --atomic origin" in'),
        Tested(".ci/run", ".github/workflows/ci.yml", "- run: .ci/run"),
    ],
    "README.md": [
        Tested("sequenceDiagram", "tests/browser/site.test.mjs", "pre.mermaid svg"),
        Walked("cargo run"),
        Walked("2. POST http://localhost"),
        compiled('import { cambio } from "@cambio/next-auth/v4"'),
        Walked("cargo run -- --write-env ../app/.env.local"),
        Tested("python3 -m venv", "tests/template/test_deploy.py", "def test_the_readme_deploys_as_the_page_does"),
        Walked("Every step gave"),
    ],
    "clients/cambio/README.md": [
        Tested("make package package-server", "tests/npx/test_npx.py", "make package package-server"),
        Tested("npm install --save-dev", "tests/npx/test_npx.py", "npm install --save-dev"),
        Tested("npx cambio init", "tests/browser/init.test.mjs", "init --yes"),
        Tested("npx cambio check", "clients/cambio/test/dev.test.mjs", "npx cambio (check .*)"),
        Tested("npx cambio dev --write-env", "tests/npx/test_npx.py", "npx cambio dev --write-env"),
        Tested("npx cambio dev demo", "tests/npx/test_npx.py", '"npx cambio dev demo"'),
        Tested("Every step gave", "tests/npx/test_npx.py", "def test_the_check_of_the_readme_ends_with_the_line_that_it_shows"),
    ],
    "clients/next-auth/README.md": [
        Walked("make package APP=../app"),
        Walked("cargo run -- --write-env ../app/.env.local"),
        Walked("npm install ./cambio-next-auth-*.tgz next-auth@4"),
        app("// lib/auth.ts"),
        app("// app/api/auth/[...nextauth]/route.ts"),
        app("// app/page.tsx"),
        install("npm install ./cambio-next-auth-*.tgz next-auth@4"),
        app("// pages/api/auth/[...nextauth].js"),
        app("// pages/_app.js"),
        app("// pages/index.js"),
        app("// pages/profile.js"),
        app("// next.config.mjs"),
        install("npm install ./cambio-next-auth-*.tgz next-auth@5"),
        app("// auth.ts"),
        app("// app/api/auth/[...nextauth]/route.ts"),
        app("// app/page.tsx"),
        app("// proxy.ts"),
        install("npm install ./cambio-next-auth-*.tgz better-auth"),
        app("// lib/auth.ts"),
        app("// app/api/auth/[...all]/route.ts"),
        app("// app/page.tsx"),
        app("// app/fresh.tsx"),
        app("// lib/token.ts"),
        Tested("// lib/openid.ts", "tests/browser/readme.test.mjs", 'sectionOf("Another provider")'),
        Walked("node -e 'const { privateKey }"),
        compiled('import { vouch } from "@cambio/next-auth/vouch"'),
        Tested("// lib/cambio.ts", "clients/next-auth/test/package.test.mjs", 'inReadme("roles: string[]")'),
        compiled("import { getAccessToken }"),
        compiled("import { cambioFetch }"),
        compiled("const handler = cambioHandler("),
        compiled("cambio({"),
        Walked("node -e 'const { privateKey }"),
        compiled('import { privateKey } from "@cambio/next-auth/private-key"'),
        Tested("// lib/api.ts", "clients/next-auth/test/package.test.mjs", "inReadme('\"openapi-fetch\"')"),
    ],
    "docs/add-a-claim.md": [
        Checked("/// The display name of the user."),
        Checked("name: user.name()"),
        Walked("cargo test --workspace --test e2e"),
    ],
    "docs/add-a-provider.md": [
        Walked("cargo test --workspace --test e2e"),
        Walked("cd clients/next-auth && node --test"),
        Checked("(<name>::KIND"),
        Walked("cargo test --workspace --test e2e"),
        Tested("python3 tests/guards/guards.py --check", "Makefile", "python3 tests/guards/guards.py --check"),
    ],
    "docs/add-a-route.md": [
        route("$ cargo lambda new"),
        route("$ perl"),
        route("$ cargo test"),
        route("$ sam validate"),
        Checked("let start = Start::new"),
        Shown(
            "cd invoices\nsam build && sam deploy --guided --stack-name invoices",
            "needs an AWS account; test_deploy.py walks both commands with Cambio's own template",
        ),
        Shown('curl -i -H "authorization: Bearer $TOKEN" "$URL"', "needs the deployed function"),
        Shown(
            "cd functions && cargo lambda new --template ../templates/route <name>",
            "the first command of the page, in another folder",
        ),
    ],
    "docs/architecture.md": [
        Checked("Next.js ── next-auth"),
        Walked("cargo test --workspace --test architecture"),
    ],
    "docs/dependencies.md": [
        made("make sbom", "python tests/release/dist.py --sbom"),
        Shown("unzip -q me.zip && cargo audit bin bootstrap", "cargo audit downloads the database of RustSec from GitHub"),
        Tested("python3 tests/dependencies.py", "tests/template/test_dependencies.py", "differences(page"),
    ],
    "docs/clients.md": [
        Walked("SECRET=$(openssl rand -hex 32)"),
        Walked("["),
        Walked("sam deploy"),
        Walked("openssl genpkey"),
        Walked('{"kty":"EC"'),
        Walked("import { importPKCS8 }"),
        Walked("{"),
        Walked('curl -s -u "nextjs:$SECRET"'),
        Walked("export KEYS_TABLE_NAME=$(aws"),
        Walked("cargo run -p admin -- clients import"),
        Walked("3 clients imported"),
        Walked("echo '{\"client_id\":\"shop\""),
        Walked("cargo run -p admin -- clients secret add"),
    ],
    # test_blocks.py compares these pages with the lists of tests/template, which have each of their blocks.
    "docs/deploy.md": deploy,
    "docs/restore.md": deploy,
    "docs/operate.md": [
        Walked("export TABLE_NAME=$(aws"),
        Walked("cargo run -p admin -- users list"),
        Walked("ID "),
        Walked("cargo run -- admin users list"),
        Walked("cargo run -p admin -- users find"),
        Walked("cargo run -p admin -- users show"),
        Walked("id        01a2204b"),
        Walked("cargo run -p admin -- users roles"),
        Walked("cargo run -p admin -- users disable"),
        Walked("01a2204b"),
        Walked("cargo run -p admin -- users enable"),
        Walked("01a2204b"),
        Walked("cargo run -p admin -- users sign-out <id>"),
        Walked("01a2204b"),
        Walked("cargo run -p admin -- users sign-out --all"),
        Walked("users signed out by"),
        Walked("cargo run -p admin -- users export"),
        Walked("{"),
        Walked("cargo run -p admin -- users delete"),
        Walked("01a2204b"),
        Walked("cargo run -p admin -- migrate"),
        Walked("user         schema"),
        Checked("{"),
        Walked("ROTATE=$(aws"),
        Walked("rotate '{}'"),
        Walked('{"changed":false'),
        Walked("cargo run -p admin -- keys list"),
        Walked("KID "),
        Walked("aws lambda get-function-configuration"),
        Walked("rotate '{\"rotate\":\"now\"}'"),
        Walked('{"changed":true'),
        Walked("rotate '{\"revoke\":\"<kid of the next key>\"}'"),
        Walked("rotate '{\"revoke\":\"<kid>\"}'"),
        Walked('{"changed":true'),
        Walked("rotate '{}'"),
        query('{"timestamp"', "the_line_of_a_request_has_the_documented_fields"),
        query('filter event = "request"', "Outcomes by route"),
        query('filter event = "request" and outcome', "Errors by code"),
        query('filter event = "request" and ispresent(provider)', "Providers, as the functions see them"),
        query('filter event = "request"', "The slowest requests, with the parts of their time"),
        query('filter event = "request"', "What DynamoDB is asked for"),
        query('filter event = "request"', "Cold and warm requests"),
        query('filter event = "request" and level', "Failures over time"),
        query('filter request_id = ', "One request, by the id"),
        query('filter ispresent(error.cause)', "The causes of errors"),
        query('filter event = "session.reuse_detected"', "Users whose refresh tokens were copied"),
        query('filter event = "session.ended"', "Sessions that ended, by reason"),
    ],
    "docs/events.md": [
        Tested("sam deploy", "tests/template/test_events.py", 'walk.run(deploy, SAM_REFUSED)'),
        Tested("aws events put-rule", "tests/template/test_events.py", "walk.run(rule, None)"),
        Tested("{", "tests/template/test_events.py", 'block.startswith("{")'),
        Tested("sam deploy --parameter-overrides Events=true EventsLog", "tests/template/test_events.py", "walk.run(deploy_log, SAM_REFUSED)"),
        Tested("aws logs tail", "tests/template/test_events.py", "for command in (tail, tail_some)"),
        Tested("aws logs tail", "tests/template/test_events.py", "for command in (tail, tail_some)"),
    ],
    "docs/scaling.md": [
        Tested("sam deploy", "tests/template/test_scaling.py", "walk.run(deploy, SAM_REFUSED)"),
    ],
    "docs/fronts.md": [
        Walked("name_of() { aws"),
        Walked("aws lambda add-permission"),
        Walked("aws apigatewayv2 update-api"),
    ],
    "docs/import.md": [
        Walked('{"id": "0199a1b2'),
        Walked("EXCHANGE=$(aws"),
        Walked("cargo run -p admin -- users import"),
        Walked("would be imported: 3"),
        Walked("cargo run -p admin -- users import"),
        Walked("imported: 3"),
    ],
    "docs/doctor.md": [
        Walked("cargo run -- doctor"),
        Walked("ok    discovery.documents"),
        Walked("44 passed"),
        Walked("cargo run -p admin -- doctor https://api.example.com"),
        Shown("read -rs CLIENT_SECRET && export CLIENT_SECRET", "waits for a line; the walk sets the variable"),
        Walked("cargo run -p admin -- doctor https://api.example.com --client"),
        Shown("read -rs GITHUB_TOKEN && export GITHUB_TOKEN", "waits for a line; the walk sets the variable"),
        Walked("cargo run -p admin -- doctor https://api.example.com --client"),
        Walked("ROLE=$(aws"),
        Shown(
            'cargo run -p admin -- doctor --iam --function token-exchange '
            '--role-arn "arn:aws:iam::$ACCOUNT:role/cambio-doctor" \\\n'
            '  --table "$TABLE_NAME" --keys-table "$KEYS_TABLE_NAME"',
            "needs an AWS account; tests/e2e/doctor.rs makes the same calls",
        ),
        Walked("for POLICY in $(aws"),
        Walked("cargo run -- doctor --json"),
    ],
    "docs/protect-your-api.md": [
        Walked("output() { aws"),
        Walked("output IssuerUrl"),
        Walked("API=$(output ApiUrl)"),
        Walked("aws cloudformation deploy"),
        Walked("aws cloudformation deploy"),
        Checked('{"GET /orders":"orders:read"'),
        Walked("aws cloudformation deploy"),
        tried("HASH=$("),
        tried("export ISSUER"),
        tried("TOKEN=$("),
        Tested('{"user":"01a2…"}', "tests/interop/try.test.mjs", '"user":"[\\w-]{36}"'),
        program("<!-- pom.xml -->"),
        program("// src/main/java/com/example/orders/OrdersApplication.java"),
        commands("mvn spring-boot:run", "mvn"),
        Shown(
            "dotnet new web --output orders && cd orders\n"
            "dotnet add package Microsoft.AspNetCore.Authentication.JwtBearer",
            "needs .NET, which the tests do not install",
        ),
        Shown(
            "// Program.cs",
            "needs .NET, which the tests do not install",
            sha256="c46fd25cdc6e5415c0a1b470ea94f2826fc818cfe2f879674427952297850ea5",
        ),
        Shown("dotnet run", "needs .NET, which the tests do not install"),
        program("// golang-jwt/main.go"),
        program("// go-oidc/main.go"),
        commands("go mod init orders", "go"),
        program("# main.py"),
        commands("python3 -m venv .venv", "uvicorn main"),
        program("// cambio.mjs"),
        program("// express.mjs"),
        program("// fastify.mjs"),
        commands("npm install jose express fastify", "express"),
        Tested('curl -s -u "orders-api:$SECRET"', "tests/interop/try.test.mjs", "curl .*introspect"),
        Tested('{"active":true', "tests/interop/try.test.mjs", '"active":true,"token_type":"Bearer","iss":'),
        Tested('{"active":false}', "tests/interop/try.test.mjs", '{"active":false}'),
    ],
    "docs/providers.md": [
        setting('[{"name": "google"'),
        setting('[{"name": "acme"'),
        setting('[{"name": "gitlab"'),
        setting('[{"name": "acme"'),
        setting('[{"name": "acme"'),
        Walked("aws secretsmanager create-secret"),
        Walked('"client_secret": "arn'),
        setting('[{"name": "intranet"'),
        Walked('[{ "name": "github"'),
        Walked("cargo run -p admin -- providers import"),
        Walked("cargo run -p admin -- providers set"),
    ],
    "docs/limits.md": [
        Walked("cargo test --workspace --test limits"),
    ],
    "docs/settings.md": [
        deploy("sam deploy"),
        Walked("ACCESS_TOKEN_TTL=60"),
        Walked("cat >check.env"),
        Walked("CLIENTS cannot be used"),
        Walked("ACCESS_TOKEN_TTL=5"),
        Walked("cambio: ACCESS_TOKEN_TTL"),
    ],
    "docs/troubleshooting.md": [
        Walked("Error: OIDC_PROVIDERS"),
    ],
    "examples/better-auth/README.md": [
        Checked("lib/auth.ts"),
        Walked("cargo run -- --write-env"),
    ],
    "examples/nextjs/README.md": [
        Checked("lib/auth.ts"),
        Walked("cargo run -- --write-env"),
    ],
    "shared/README.md": [
        release("[dependencies]", "'package = \"cambio\""),
    ],
}

# The pages with a line for each block.
LISTED = {page: entries for page, entries in BLOCKS.items() if entries is not deploy}
