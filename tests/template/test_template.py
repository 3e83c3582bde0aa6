"""template.yaml gives each function its route, its items and its settings, and nothing else.

Each check is a function of the template, so that the last test can break the template in ways a hurried edit would,
and see the check fail: a check that cannot fail proves nothing.
"""

import copy
import fnmatch
import graphlib
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from cfnlint.decode import cfn_yaml
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
BIN = Path(sys.executable).parent

READ, PUT, UPDATE = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"
DELETE, QUERY = "dynamodb:DeleteItem", "dynamodb:Query"

# The requests of each function to DynamoDB. tests/e2e/permissions.rs sees that each makes them, and no other.
PERMISSIONS = json.loads((Path(__file__).parent / "permissions.json").read_text())
TRANSACTION = "TransactWriteItems"


def verbs_of(names):
    return {f"dynamodb:{name}" for name in names}


def statements_for(requests):
    """The statements that a role needs: the operation around the verbs, the table, the verbs, the leading keys."""
    lines = [(None, table, verbs_of(verbs), set(keys)) for table, verbs, keys in requests["calls"]]
    for table in sorted({table for table, _ in requests["transactions"]}):
        shapes = [shape for of, shape in requests["transactions"] if of == table]
        verbs = {verb for shape in shapes for verb in shape}
        keys = {key for shape in shapes for keys in shape.values() for key in keys}
        lines.append((TRANSACTION, table, verbs_of(verbs), keys))
    return lines


ITEMS = {function: statements_for(requests) for function, requests in PERMISSIONS.items()}

# The prefixes of all keys, as the code has them, with the table of each.
KEYS = re.findall(r'const (\w+): &str = "([A-Z]+#?)"', (ROOT / "shared/src/dynamodb/table.rs").read_text())
SORT_KEYS = {"SESSION"}
KEYS_TABLE = {"KEY_SET", "PRIVATE_KEY", "CLIENTS", "PROVIDERS"}

# The names that tests/cold-start starts the real binaries with, so that what the template gives is known to be enough.
sys.path.insert(0, str(ROOT / "tests/cold-start"))
sys.path.insert(0, str(Path(__file__).parent))
from cold_start import DEFAULTS  # noqa: E402
from cold_start import SETTINGS as ENVIRONMENT  # noqa: E402
from policies import ENCLOSING, LEADING_KEYS, READINGS, allows  # noqa: E402
from policies import holds as condition_holds  # noqa: E402

# The variables of API Gateway's access log that a caller cannot fill with a token, a name or an address.
LOGGABLE = {
    "error.message",
    "integrationErrorMessage",
    "integrationLatency",
    "requestId",
    "requestTime",
    "responseLatency",
    "routeKey",
    "status",
}


# A function's alias, in the words of SAM: `!Ref MeFunction.Alias`.
ALIAS = ".Alias"


def load(template=TEMPLATE):
    return cfn_yaml.load(str(template))


def resources(template, kind):
    return {name: r for name, r in template["Resources"].items() if r["Type"] == kind}


def functions(template):
    """Binary name → the function's logical id and properties, with the variables of Globals, as SAM merges them."""
    found = resources(template, "AWS::Serverless::Function")
    shared = template["Globals"]["Function"].get("Environment", {"Variables": {}})
    functions = {}
    for name, function in found.items():
        properties = function["Properties"]
        merged = {**shared["Variables"], **properties["Environment"]["Variables"]}
        variables = {n: value for n, value in merged.items() if value != {"Ref": "AWS::NoValue"}}
        properties = {**properties, "Environment": {**properties["Environment"], "Variables": variables}}
        functions[function["Metadata"]["BuildProperties"]["Binary"]] = (name, properties)
    return functions


def standing_alarms(template):
    """The alarms of each stack, without those of the canary."""
    return {name: a for name, a in resources(template, "AWS::CloudWatch::Alarm").items() if "Condition" not in a}


def role_of(template, properties):
    role, attribute = properties["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    return role, template["Resources"][role]["Properties"]


def statements(policies):
    """Also those that depend on a condition, as if it held."""
    found = [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]
    return [s["Fn::If"][1] if "Fn::If" in s else s for s in found]


def dynamodb_statements(role):
    return [s for s in statements(role["Policies"]) if any(a.startswith("dynamodb:") for a in s["Action"])]


# A table of the stack's own, or an existing one in its place.
NAME = {
    table: {"Fn::If": [f"Makes{table}", {"Ref": table}, {"Ref": f"Existing{table}Name"}]} for table in ("Table", "KeysTable")
}
ARN = {
    table: {
        "Fn::If": [
            f"Makes{table}",
            {"Fn::GetAtt": [table, "Arn"]},
            {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${Existing%sName}" % table},
        ]
    }
    for table in NAME
}


def table_of(statement):
    (table,) = [table for table in ARN if ARN[table] == statement["Resource"]]
    return table


def walk(node):
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def refs(node):
    """The names that Ref, Fn::GetAtt, Fn::Sub and Fn::If use below a node."""
    for n in walk(node):
        if not isinstance(n, dict) or len(n) != 1:
            continue
        ((key, value),) = n.items()
        if key in ("Ref", "Condition"):
            yield value
        elif key == "Fn::GetAtt" or key == "Fn::If":
            yield value[0]
        elif key == "Fn::Sub":
            yield from re.findall(r"\$\{(\w+)", value if isinstance(value, str) else value[0])


SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cambio/github-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-central-1:123456789012:parameter/cambio/github"


# --- The checks -------------------------------------------------------------------------------------------------------

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@check
def every_function_crate_is_deployed_as_a_lambda_binary_of_its_own(template):
    found = functions(template)
    assert set(found) == {path.parent.name for path in ROOT.glob("functions/*/Cargo.toml")}
    for binary, (name, properties) in found.items():
        metadata = template["Resources"][name]["Metadata"]
        assert metadata["BuildMethod"] == "rust-cargolambda"
        assert properties["CodeUri"] == f"functions/{binary}"
    shared = template["Globals"]["Function"]
    assert (shared["Runtime"], shared["Handler"]) == ("provided.al2023", "bootstrap")
    assert shared["Architectures"] == [{"Ref": "Architecture"}]
    assert template["Parameters"]["Architecture"]["AllowedValues"] == ["arm64", "x86_64"]
    assert shared["MemorySize"] == 256 and shared["Timeout"] == 10


@check
def a_function_has_its_verbs_on_its_items_and_no_more(template):
    for binary, (_, properties) in functions(template).items():
        _, role = role_of(template, properties)
        granted = []
        for statement in dynamodb_statements(role):
            assert statement["Effect"] == "Allow"
            condition = dict(statement["Condition"])
            (keys,) = condition.pop("ForAllValues:StringLike").items()
            assert keys[0] == LEADING_KEYS, statement["Sid"]
            operation = None
            if "ForAnyValue:StringEquals" in condition:
                # As in AWS's example. It is absent outside of a transaction, and then this does not hold.
                assert condition == {"ForAnyValue:StringEquals": {ENCLOSING: [TRANSACTION]}}, statement["Sid"]
                operation = TRANSACTION
            else:
                # ForAllValues holds for an empty set of keys; this refuses it.
                assert condition == {"Null": {LEADING_KEYS: "false"}}, statement["Sid"]
            table = table_of(statement)
            granted.append((operation, table, set(statement["Action"]), set(keys[1])))
        assert sorted(granted, key=repr_of) == sorted(ITEMS[binary], key=repr_of), binary
        # The keys of a call that has several, such as BatchGetItem, may be of all prefixes of its verb.
        verbs = [(operation, table, verb) for operation, table, verbs, _ in granted for verb in verbs]
        assert len(set(verbs)) == len(verbs), binary


def repr_of(line):
    operation, table, verbs, keys = line
    return repr((operation, table, sorted(verbs), sorted(keys)))


def key_of(pattern):
    """A leading key that matches a pattern."""
    return pattern.replace("*", "0a-1b")


@check
def each_route_passes_whatever_keys_aws_supplies_in_a_transaction(template):
    for binary, (_, properties) in functions(template).items():
        granted = dynamodb_statements(role_of(template, properties)[1])
        for table, verbs, patterns in PERMISSIONS[binary]["calls"]:
            keys = [key_of(pattern) for pattern in patterns]
            for verb in verbs_of(verbs):
                for given in [keys, *([key] for key in keys)]:
                    assert allows(granted, ARN[table], verb, given), (binary, verb, given)
        for table, shape in PERMISSIONS[binary]["transactions"]:
            items = [(f"dynamodb:{verb}", key_of(pattern)) for verb, patterns in shape.items() for pattern in patterns]
            for reading, supplied in READINGS.items():
                for verb, key in items:
                    given = supplied(items, verb, key)
                    assert allows(granted, ARN[table], verb, given, TRANSACTION), (binary, verb, key, reading)


VERBS = verbs_of(
    ["BatchGetItem", "BatchWriteItem", "ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"]
)
PATTERNS = {
    "USER#*", "IDENTITY#*", "EMAIL#*", "ASSERTION#*", "LIMIT#*", "KEYSET", "KEY#*", "CLIENTS", "PROVIDERS", "OTHER#*",
}


@check
def what_a_function_does_not_do_is_denied_as_far_as_aws_documents_conditions(template):
    for binary, (_, properties) in functions(template).items():
        granted = dynamodb_statements(role_of(template, properties)[1])
        lines = ITEMS[binary]

        def may(operation, table, verb, pattern):
            found = [keys for o, t, verbs, keys in lines if (o, t) == (operation, table) and verb in verbs]
            return any(pattern is None or pattern in keys for keys in found)

        for table in ("Table", "KeysTable"):
            for verb in VERBS:
                # Without a key, nothing but the verbs of the function's own transactions.
                assert not allows(granted, ARN[table], verb), (binary, verb)
                assert not allows(granted, ARN[table], verb, [], "TransactGetItems"), (binary, verb)
                assert allows(granted, ARN[table], verb, [], TRANSACTION) == may(TRANSACTION, table, verb, None), (binary, verb)
                for pattern in PATTERNS:
                    key, alone = key_of(pattern), may(None, table, verb, pattern)
                    case = (binary, table, verb, pattern)
                    assert allows(granted, ARN[table], verb, [key]) == alone, case
                    assert allows(granted, ARN[table], verb, [key], "TransactGetItems") == alone, case
                    within = alone or may(TRANSACTION, table, verb, pattern)
                    assert allows(granted, ARN[table], verb, [key], TRANSACTION) == within, case
                    # A transaction with one more item, to which the function has no right.
                    assert not allows(granted, ARN[table], verb, [key, "OTHER#1"], TRANSACTION), case


@check
def no_reading_of_a_transaction_reaches_another_functions_work(template):
    able = {}
    for binary, (_, properties) in functions(template).items():
        granted = dynamodb_statements(role_of(template, properties)[1])
        for operation in (None, "TransactGetItems", TRANSACTION):
            for keys in ([], *([key_of(pattern)] for pattern in PATTERNS)):
                for table in ("Table", "KeysTable"):
                    for verb in VERBS:
                        if allows(granted, ARN[table], verb, keys, operation):
                            able.setdefault((table, verb), set()).add(binary)
                if allows(granted, ARN["KeysTable"], READ, keys, operation) and keys[:1] not in (["KEYSET"], ["CLIENTS"], ["PROVIDERS"]):
                    able.setdefault("private keys", set()).add(binary)
    assert able["private keys"] == {"token-exchange", "rotate-keys"}
    assert able["KeysTable", READ] == set(functions(template))
    assert able["KeysTable", PUT] == able["KeysTable", DELETE] == {"rotate-keys"}
    assert {verb for table, verb in set(able) - {"private keys"} if table == "KeysTable"} == {READ, PUT, DELETE}
    assert able["Table", DELETE] == {"me", "identities", "token-exchange"}
    assert able["Table", QUERY] == {"me", "sessions", "token-exchange"}
    assert not {"dynamodb:Scan", "dynamodb:BatchWriteItem"} & {verb for _, verb in set(able) - {"private keys"}}


@check
def only_the_operator_writes_the_clients_and_the_providers(template):
    readers = {"CLIENTS": set(), "PROVIDERS": set()}
    for binary, (_, properties) in functions(template).items():
        granted = dynamodb_statements(role_of(template, properties)[1])
        for key, found in readers.items():
            for operation in (None, "TransactGetItems", TRANSACTION):
                able = {verb for verb in VERBS if allows(granted, ARN["KeysTable"], verb, [key], operation)}
                assert able <= {READ}, (binary, key, operation)
                if able:
                    found.add(binary)
    # rotate-keys reads the items in the check of a deployment.
    assert readers["CLIENTS"] == {"token-exchange", "revoke", "introspect", "identities", "rotate-keys"}
    # Without the item, the secrets of the providers are those of the environment.
    assert readers["PROVIDERS"] == {"token-exchange", "identities", "rotate-keys"}
    with_secrets = {f for f, names in ENVIRONMENT.items() if "GITHUB_CLIENT_SECRET" in names}
    assert readers["PROVIDERS"] - {"rotate-keys"} == with_secrets


@check
def the_authorizer_reads_users_only_where_it_is_live(template):
    live = {"Fn::Equals": [{"Ref": "AuthorizerLive"}, "true"]}
    assert template["Conditions"]["AuthorizerIsLive"] == live
    assert template["Parameters"]["AuthorizerLive"]["Default"] == "false"
    assert functions(template)["authorizer"][1]["Environment"]["Variables"]["LIVE"] == {"Ref": "AuthorizerLive"}
    document = template["Resources"]["AuthorizerRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    for statement in document["Statement"]:
        on_users = {"Fn::GetAtt": ["Table", "Arn"]} in walk(statement)
        if on_users:
            condition, _, otherwise = statement["Fn::If"]
            assert (condition, otherwise) == ("AuthorizerIsLive", {"Ref": "AWS::NoValue"})


@check
def leading_keys_are_the_prefixes_of_the_code(template):
    used = {"Table": set(), "KeysTable": set()}
    for _, properties in functions(template).values():
        for statement in dynamodb_statements(role_of(template, properties)[1]):
            keys = statement["Condition"]["ForAllValues:StringLike"][LEADING_KEYS]
            used[table_of(statement)] |= set(keys)
    assert {name for name, _ in KEYS} >= SORT_KEYS | KEYS_TABLE
    patterns = {name: key + "*" * key.endswith("#") for name, key in KEYS if name not in SORT_KEYS}
    on_keys = {pattern for name, pattern in patterns.items() if name in KEYS_TABLE}
    assert used == {"Table": set(patterns.values()) - on_keys, "KeysTable": on_keys}


SECRETS = {"Fn::Split": [",", {"Ref": "SecretArns"}]}


@check
def no_permission_is_broader_than_one_resource(template):
    for name, role in resources(template, "AWS::IAM::Role").items():
        assert not set(role["Properties"]) & {"ManagedPolicyArns", "PermissionsBoundary"}, name
        trusted = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        service = "pipes" if name == "EventsRole" else "lambda"
        assert [s["Principal"] for s in trusted] == [{"Service": f"{service}.amazonaws.com"}], name
    policies = [p["Properties"] for p in resources(template, "AWS::IAM::Policy").values()]
    roles = [r["Properties"] for r in resources(template, "AWS::IAM::Role").values()]
    for statement in statements(policies) + [s for r in roles for s in statements(r["Policies"])]:
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}, (
            statement
        )  # no NotAction, NotResource
        assert not any("*" in action for action in statement["Action"]), statement["Sid"]
        # A resource of this template or a parameter, never a pattern; but for the files of one folder.
        resource = statement["Resource"]
        if resource == {"Fn::Sub": "${DocumentsBucket.Arn}/.well-known/*"}:
            assert statement["Action"] == ["s3:PutObject"]
            continue
        # X-Ray has no resources; these two actions write only.
        if statement["Sid"] == "SendTraces":
            assert statement["Action"] == ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
            assert resource == "*"
            continue
        if resource in ARN.values():
            continue
        # Whole ARNs, which the pattern of the parameter holds.
        if resource == SECRETS:
            assert statement["Action"] == ["secretsmanager:GetSecretValue", "ssm:GetParameter"]
            continue
        assert isinstance(resource, dict) and len(resource) == 1, statement["Sid"]
        assert resource.keys() <= {"Fn::GetAtt", "Ref"}, statement["Sid"]
    known = {"AWS::IAM::Role", "AWS::IAM::Policy"}
    assert {r["Type"] for r in template["Resources"].values() if r["Type"].startswith("AWS::IAM::")} <= known


@check
def each_function_has_a_role_of_its_own_and_sam_adds_nothing_to_it(template):
    used = [role_of(template, properties)[0] for _, properties in functions(template).values()]
    assert len(set(used)) == len(used)
    assert {*used, "EventsRole"} == set(resources(template, "AWS::IAM::Role"))
    for name, properties in functions(template).values():
        # SAM makes a role, with rights to every log group, of a function's `Policies`, and more of these.
        extra = {"Policies", "VpcConfig", "DeadLetterQueue", "EventInvokeConfig"}
        assert not extra & (set(properties) | set(template["Globals"]["Function"])), name
        # With a role of its own, SAM adds no policy for traces.
        assert "Tracing" not in properties, name
        assert not template["Resources"][name].get("Connectors")


@check
def nothing_can_scan_and_few_can_query_or_delete(template):
    for node in walk(template["Resources"]):
        if isinstance(node, str):
            assert not re.search(r"dynamodb:(\*|PartiQL|BatchWrite|Scan|.*\*)", node), node
    able = {QUERY: set(), DELETE: set()}
    for binary, (_, properties) in functions(template).items():
        for statement in dynamodb_statements(role_of(template, properties)[1]):
            for verb in able:
                if verb in statement["Action"]:
                    able[verb].add(binary)
    querying = {"me", "sessions", "token-exchange"}
    assert able == {QUERY: querying, DELETE: {"me", "identities", "rotate-keys", "token-exchange"}}
    # Only the function that makes the keys writes or deletes one.
    on_keys = [(b, verbs) for b, items in ITEMS.items() for _, table, verbs, _ in items if table == "KeysTable"]
    assert {b for b, verbs in on_keys if verbs != {READ}} == {"rotate-keys"}


@check
def only_the_functions_that_sign_or_rotate_can_read_a_private_key(template):
    readers = set()
    for binary, (_, properties) in functions(template).items():
        for statement in dynamodb_statements(role_of(template, properties)[1]):
            patterns = (
                statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"])
            )
            on_keys = table_of(statement) == "KeysTable"
            if on_keys and any(fnmatch.fnmatchcase("KEY#some-kid", pattern) for pattern in patterns):
                readers.add(binary)
    assert readers == {"token-exchange", "rotate-keys"}


@check
def only_the_functions_that_ask_providers_read_their_secrets(template):
    # By default, nothing is added.
    assert template["Parameters"]["SecretArns"]["Default"] == template["Parameters"]["SecretsKmsKeyArn"]["Default"] == ""
    assert template["Conditions"]["HasSecrets"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "SecretArns"}, ""]}]}
    has_key = {"Fn::Not": [{"Fn::Equals": [{"Ref": "SecretsKmsKeyArn"}, ""]}]}
    assert template["Conditions"]["HasSecretsKmsKey"] == {"Fn::And": [{"Condition": "HasSecrets"}, has_key]}
    services = ["secretsmanager.*.amazonaws.com", "ssm.*.amazonaws.com"]
    expected = [
        ("HasSecrets", ["secretsmanager:GetSecretValue", "ssm:GetParameter"], SECRETS, None),
        ("HasSecretsKmsKey", ["kms:Decrypt"], {"Ref": "SecretsKmsKeyArn"}, {"StringLike": {"kms:ViaService": services}}),
    ]
    for binary, (_, properties) in functions(template).items():
        found = []
        for policy in role_of(template, properties)[1]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                condition, given, absent = statement.get("Fn::If", (None, statement, NO_VALUE))
                if {"secretsmanager", "ssm", "kms"} & {action.split(":")[0] for action in given["Action"]}:
                    assert absent == NO_VALUE
                    found.append((condition, given["Action"], given["Resource"], given.get("Condition")))
        assert found == (expected if "PROVIDERS" in ENVIRONMENT[binary] else []), binary


@check
def a_kms_key_is_used_through_dynamodb_only(template):
    policies = resources(template, "AWS::IAM::Policy")
    assert set(policies) == {"KeysKmsKeyUse", "DataKmsKeyUse", "TracingUse"}
    for kind, table in (("Keys", "KeysTable"), ("Data", "Table")):
        policy = policies[f"{kind}KmsKeyUse"]
        assert policy["Condition"] == f"Has{kind}KmsKey"
        (statement,) = statements([policy["Properties"]])
        assert statement["Action"] == ["kms:Decrypt", "kms:DescribeKey"]
        assert statement["Resource"] == {"Ref": f"{kind}KmsKeyArn"}
        assert statement["Condition"] == {
            "StringEquals": {"kms:ViaService": {"Fn::Sub": "dynamodb.${AWS::Region}.amazonaws.com"}}
        }
        users = {f for f, items in ITEMS.items() if table in {t for _, t, _, _ in items}}
        roles = {role_of(template, functions(template)[f][1])[0] for f in users}
        assert {r["Ref"] for r in policy["Properties"]["Roles"]} == roles
        key = template["Resources"][table]["Properties"]["SSESpecification"]["KMSMasterKeyId"]["Fn::If"]
        assert key == [f"Has{kind}KmsKey", {"Ref": f"{kind}KmsKeyArn"}, NO_VALUE]
        assert template["Conditions"][f"Has{kind}KmsKey"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": f"{kind}KmsKeyArn"}, ""]}]}


@check
def a_function_gets_the_settings_that_it_uses_and_no_more(template):
    for binary, (_, properties) in functions(template).items():
        assert set(properties["Environment"]["Variables"]) == ENVIRONMENT[binary], binary


def without_parameters(template, value):
    """The value of a variable in a stack whose parameters have their defaults, as text; None if it is a resource's."""
    if "Ref" in value:
        default = template["Parameters"].get(value["Ref"], {}).get("Default")
        return None if default is None else str(default)
    if "Fn::If" in value:
        condition, then, otherwise = value["Fn::If"]
        # `Fn::Equals` of a parameter and a text, or the negation of that.
        holds = template["Conditions"][condition]
        is_negated = "Fn::Not" in holds
        parameter, text = (holds["Fn::Not"][0] if is_negated else holds)["Fn::Equals"]
        chosen = then if (without_parameters(template, parameter) == text) != is_negated else otherwise
        return chosen if isinstance(chosen, str) else without_parameters(template, chosen)
    return None


@check
def the_release_binaries_are_measured_with_the_values_of_the_template(template):
    """The budgets, the bench and its costs are those of a function as it is deployed without parameters."""
    compared = set()
    for binary, (_, properties) in functions(template).items():
        for variable, value in properties["Environment"]["Variables"].items():
            if variable in DEFAULTS:
                assert DEFAULTS[variable] == without_parameters(template, value), f"{variable} of {binary}"
                compared.add(variable)
    assert compared == set(DEFAULTS)


@check
def a_setting_means_the_same_to_every_function(template):
    issuer = template["Outputs"]["IssuerUrl"]["Value"]
    own = {"Fn::Sub": "https://${ApiDomain}"}
    api = {"Fn::If": ["HasApiDomain", own, {"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}]}
    assert template["Outputs"]["ApiUrl"]["Value"] == api
    files = {"Fn::Sub": "https://${Distribution.DomainName}"}
    assert issuer == {
        "Fn::If": ["HasIssuerUrl", {"Ref": "IssuerUrl"}, {"Fn::If": ["PublishesDocuments", files, api]}]
    }
    common = {
        # Empty for the issuer's URL.
        "API_URL": {"Fn::If": ["PublishesDocuments", api, ""]},
        "ISSUER_URL": issuer,
        "TOKEN_AUDIENCE": {"Fn::If": ["HasTokenAudience", {"Ref": "TokenAudience"}, issuer]},
        "TABLE_NAME": NAME["Table"],
        "KEYS_TABLE_NAME": NAME["KeysTable"],
        "LOG_LEVEL": {"Ref": "LogLevel"},
    }
    exchange = functions(template)["token-exchange"][1]["Environment"]["Variables"]
    providers = {"GITHUB_API_URL", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "OAUTH_PROVIDERS", "OIDC_PROVIDERS", "PROVIDERS"}
    for variable in providers | {"CLIENTS", "REFRESH_REUSE_WINDOW", "SESSION_ABSOLUTE_TTL", "SESSION_IDLE_TTL"}:
        common[variable] = exchange[variable]
    for binary, (_, properties) in functions(template).items():
        for variable, value in properties["Environment"]["Variables"].items():
            # Any other setting is one function's own.
            users = {b for b, names in ENVIRONMENT.items() if variable in names}
            assert value == common[variable] if variable in common else users == {binary}, f"{variable} of {binary}"


@check
def every_setting_is_one_that_the_code_reads(template):
    code = "".join(
        p.read_text() for pattern in ("shared/src/**/*.rs", "functions/*/src/**/*.rs") for p in ROOT.glob(pattern)
    )
    for binary, (_, properties) in functions(template).items():
        for variable in properties["Environment"]["Variables"]:
            assert f'"{variable}"' in code, f"{variable} of {binary}"


@check
def secrets_are_never_echoed(template):
    hidden = {name for name, p in template["Parameters"].items() if p.get("NoEcho") is True}
    # The hash of a random secret is not one, nor is the ARN that leads to a secret.
    known = {"SecretArns", "SecretsKmsKeyArn"}
    named = {n for n in template["Parameters"] if re.search("Secret|Password|Token$|PrivateKey", n) and "Sha256" not in n}
    secret = named - known
    assert secret and secret <= hidden
    # SAM asks for a hidden parameter until a value is typed, so only a secret is hidden.
    assert hidden == secret
    for name in hidden:
        # No default is a secret.
        assert template["Parameters"][name].get("Default") in (None, "none"), name
    for name, properties in functions(template).values():
        for variable, value in properties["Environment"]["Variables"].items():
            if "SECRET" in variable:
                condition, secret, otherwise = value["Fn::If"]
                assert (condition, otherwise) == ("HasGitHub", ""), variable
                assert secret.get("Ref") in hidden, variable
    # A secret goes to the environment of a function and nowhere else: not into a name, a description or an output.
    uses = [r for r in refs([template["Resources"], template["Outputs"], template["Globals"]]) if r in hidden]
    variables = [p["Environment"]["Variables"] for _, p in functions(template).values()]
    assert len(uses) == len([r for r in refs(variables) if r in hidden])


@check
def the_routes_are_those_of_cargo_lambda_watch(template):
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    router = cargo["workspace"]["metadata"]["lambda"]["watch"]["router"]
    local = {(f"ANY {path}", function) for path, function in router.items()}

    binaries = {name: binary for binary, (name, _) in functions(template).items()}
    integrations = {
        name: binaries[i["Properties"]["IntegrationUri"]["Ref"].removesuffix(ALIAS)]
        for name, i in resources(template, "AWS::ApiGatewayV2::Integration").items()
    }
    deployed = set()
    for route in resources(template, "AWS::ApiGatewayV2::Route").values():
        assert route["Properties"]["ApiId"] == {"Ref": "HttpApi"}
        target = re.fullmatch(r"integrations/\$\{(\w+)\}", route["Properties"]["Target"]["Fn::Sub"])
        path = route["Properties"]["RouteKey"].split(" ")[1]
        deployed.add((f"ANY {path}", integrations[target[1]]))
    assert deployed == local


@check
def every_method_of_a_path_reaches_its_function(template):
    # With `ANY`, the function answers 405 with `Allow`; API Gateway would answer 404.
    keys = {r["Properties"]["RouteKey"] for r in resources(template, "AWS::ApiGatewayV2::Route").values()}
    assert {f"ANY {key.split(' ')[1]}" for key in keys} <= keys
    # A method has a route of its own only for a limit of its own.
    (stage,) = resources(template, "AWS::ApiGatewayV2::Stage").values()
    assert {key for key in keys if not key.startswith("ANY ")} <= set(stage["Properties"]["RouteSettings"])
    # API Gateway would answer the preflight of a browser in place of the function, for every route.
    (api,) = resources(template, "AWS::ApiGatewayV2::Api").values()
    assert "CorsConfiguration" not in api["Properties"]


@check
def only_the_api_can_invoke_a_route_and_only_at_its_path(template):
    granted = set()
    for name, permission in resources(template, "AWS::Lambda::Permission").items():
        properties = permission["Properties"]
        assert properties["Principal"] == "apigateway.amazonaws.com", name
        assert properties["Action"] == "lambda:InvokeFunction", name
        prefix = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpApi}/*/"
        source = properties["SourceArn"]["Fn::Sub"]
        assert source.startswith(prefix), name
        granted.add((properties["FunctionName"]["Ref"], source.removeprefix(prefix)))
    for integration in resources(template, "AWS::ApiGatewayV2::Integration").values():
        assert integration["Properties"]["PayloadFormatVersion"] == "2.0"
    integrations = resources(template, "AWS::ApiGatewayV2::Integration")
    for route in resources(template, "AWS::ApiGatewayV2::Route").values():
        integration = re.findall(r"\w+", route["Properties"]["Target"]["Fn::Sub"])[1]
        function = integrations[integration]["Properties"]["IntegrationUri"]["Ref"]
        path = route["Properties"]["RouteKey"].replace(" ", "")
        # Each route may call its own function, and no other one.
        assert {f for f, pattern in granted if fnmatch.fnmatchcase(path, pattern)} == {function}, path


@check
def keys_are_looked_after_every_day(template):
    name, properties = functions(template)["rotate-keys"]
    assert [e["Properties"]["Schedule"] for e in properties["Events"].values()] == ["rate(1 day)"]
    orders = [json.loads(e["Properties"]["Input"]) for e in properties["Events"].values()]
    assert orders == [{"rotate": "when-due"}]
    assert properties["Timeout"] == 60
    alarms = resources(template, "AWS::CloudWatch::Alarm").values()
    assert any(
        a["Properties"].get("MetricName") == "Errors" and name in refs(a["Properties"]["Dimensions"]) for a in alarms
    )
    assert name in template["Outputs"]["MakeFirstKey"]["Value"]["Fn::Sub"]


@check
def the_documents_are_read_through_cloudfront_only(template):
    bucket = template["Resources"]["DocumentsBucket"]["Properties"]
    blocks = bucket["PublicAccessBlockConfiguration"]
    assert set(blocks) == {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    assert all(value is True for value in blocks.values())
    (read,) = statements([template["Resources"]["DocumentsBucketPolicy"]["Properties"]])
    assert read["Principal"] == {"Service": "cloudfront.amazonaws.com"} and read["Action"] == ["s3:GetObject"]
    assert "${Distribution}" in read["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"]
    behavior = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]["DefaultCacheBehavior"]
    assert behavior["ViewerProtocolPolicy"] == "https-only"
    assert behavior["AllowedMethods"] == ["GET", "HEAD"]
    writers = {
        binary
        for binary, (_, properties) in functions(template).items()
        if any("s3:PutObject" in s["Action"] for s in statements(role_of(template, properties)[1]["Policies"]))
    }
    assert writers == {"rotate-keys"}
    for name in ("DocumentsBucket", "DocumentsBucketPolicy", "DocumentsAccess", "Distribution"):
        assert template["Resources"][name]["Condition"] == "PublishesDocuments", name
    assert template["Parameters"]["PublishDocuments"]["Default"] == "false"


@check
def the_tables_are_in_one_region(template):
    # A condition on an item of a global table is evaluated in one region: two regions could both rotate a token.
    assert set(resources(template, "AWS::DynamoDB::Table")) == {"Table", "KeysTable"}
    assert not resources(template, "AWS::DynamoDB::GlobalTable")


@check
def the_tables_are_kept_backed_up_and_encrypted(template):
    tables = resources(template, "AWS::DynamoDB::Table")
    assert set(tables) == {"Table", "KeysTable"}
    for name, table in tables.items():
        properties = table["Properties"]
        # The table also stays when it is deleted from the stack, because an existing table takes its place.
        assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain", name
        assert table["Condition"] == f"Makes{name}"
        assert properties["BillingMode"] == "PAY_PER_REQUEST", name
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, name
        assert properties["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}, name
        assert properties["SSESpecification"]["SSEEnabled"] is True, name
        assert not set(properties) & {"GlobalSecondaryIndexes", "LocalSecondaryIndexes"}, name
        # No stream of private keys; that of the users exists if `Events` asks for it.
        streams = {"Fn::If": ["HasEvents", {"StreamViewType": "NEW_IMAGE"}, NO_VALUE]}
        assert properties.get("StreamSpecification") == (streams if name == "Table" else None), name
        # A name of our own would keep a replaced or restored table from living next to the old one.
        assert "TableName" not in properties, name
    schema = {n: [(k["AttributeName"], k["KeyType"]) for k in t["Properties"]["KeySchema"]] for n, t in tables.items()}
    assert schema == {"Table": [("pk", "HASH"), ("sk", "RANGE")], "KeysTable": [("pk", "HASH")]}
    ttl = tables["Table"]["Properties"]["TimeToLiveSpecification"]
    assert ttl == {"AttributeName": "expires_at", "Enabled": True}
    assert "TimeToLiveSpecification" not in tables["KeysTable"]["Properties"]
    assert template["Parameters"]["DeletionProtection"]["Default"] == "true"


EXISTING = {"ExistingTableName": "cambio-restored", "ExistingKeysTableName": "cambio-keys.restored_2"}


@check
def an_existing_table_takes_the_place_of_the_stacks_own(template):
    assert {template["Parameters"][name]["Default"] for name in EXISTING} == {""}
    plain = resolve(template, APP | GITHUB)
    for given in [{}, *({name: EXISTING[name]} for name in EXISTING), EXISTING]:
        assert refusals(template, APP | GITHUB | given) == []
        stack = resolve(template, APP | GITHUB | given | {"AuthorizerLive": "true"})
        own = resolve(template, APP | GITHUB | {"AuthorizerLive": "true"})
        assert set(plain["Resources"]) - set(stack["Resources"]) == {n.removeprefix("Existing").removesuffix("Name") for n in given}
        # Everything that names the one names the other, and nothing else is different.
        text = json.dumps(own | {"Resources": {n: r for n, r in own["Resources"].items() if n in stack["Resources"]}})
        for name, value in given.items():
            table = name.removeprefix("Existing").removesuffix("Name")
            arn = f"arn:<AWS::Partition>:dynamodb:<AWS::Region>:<AWS::AccountId>:table/{value}"
            assert f"<{table}>" in text and f"<{table}.Arn>" in text
            text = text.replace(f"<{table}>", value).replace(f"<{table}.Arn>", arn)
        expected, outputs = json.loads(text), stack["Outputs"]
        set_up = {f"SetUp{n.removesuffix('Name')}" for n in given}
        assert set(outputs) - set(expected["Outputs"]) == set_up
        assert stack | {"Outputs": {n: o for n, o in outputs.items() if n not in set_up}} == expected
        # Each command is for the table that is given; the values of TTL are those of the stack's own table.
        for name in given:
            commands = outputs[f"SetUp{name.removesuffix('Name')}"]["Value"]
            assert commands.count("aws dynamodb") == commands.count(f"--table-name {given[name]}")
            assert "PointInTimeRecoveryEnabled=true" in commands and "--deletion-protection-enabled" in commands
            assert ("Enabled=true,AttributeName=expires_at" in commands) == (name == "ExistingTableName")


@check
def a_table_is_made_warm_on_request_only(template):
    for given, expected in (
        ({}, None),
        ({"TableWarmReadUnits": "12000", "TableWarmWriteUnits": "4000"}, None),
        # DynamoDB takes both numbers, and knows the one that is not given.
        ({"TableWarmReadUnits": "48000"}, {"ReadUnitsPerSecond": "48000", "WriteUnitsPerSecond": "4000"}),
        ({"TableWarmWriteUnits": "16000"}, {"ReadUnitsPerSecond": "12000", "WriteUnitsPerSecond": "16000"}),
    ):
        tables = resources(resolve(template, APP | GITHUB | given), "AWS::DynamoDB::Table")
        warm = {name: table["Properties"].get("WarmThroughput") for name, table in tables.items()}
        assert warm == {"Table": expected, "KeysTable": None}, given
    for name, units in (("Read", 12_000), ("Write", 4_000)):
        parameter = template["Parameters"][f"TableWarm{name}Units"]
        assert (parameter["Type"], parameter["Default"], parameter["MinValue"]) == ("Number", units, units)


@check
def every_log_has_an_end_and_one_writer(template):
    groups = resources(template, "AWS::Logs::LogGroup")
    for name, group in groups.items():
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}, name
        assert group["Properties"]["KmsKeyId"] == {"Fn::If": ["HasDataKmsKey", {"Ref": "DataKmsKeyArn"}, NO_VALUE]}, name
    used = {"ApiLogs"}
    for name, properties in functions(template).values():
        # The group alone: a format or level set here would wrap or drop the lines that the function writes.
        assert set(properties["LoggingConfig"]) == {"LogGroup"}, name
        group = properties["LoggingConfig"]["LogGroup"]["Ref"]
        assert group in groups and group not in used, name
        used.add(group)
        writes = [
            s for s in statements(role_of(template, properties)[1]["Policies"]) if "logs:PutLogEvents" in s["Action"]
        ]
        assert [s["Resource"] for s in writes] == [{"Fn::GetAtt": [group, "Arn"]}], name
        assert writes[0]["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    # EventBridge writes to it, by a policy of the group (test_events.py).
    assert used | {"EventsLogs"} == set(groups)
    (policy,) = resources(template, "AWS::Logs::ResourcePolicy").values()
    writes = json.loads(policy["Properties"]["PolicyDocument"]["Fn::Sub"])["Statement"]
    assert {s["Resource"] for s in writes} == {"${EventsLogs.Arn}"}
    assert {name for s in writes for name in s["Principal"]["Service"]} == {"events.amazonaws.com", "delivery.logs.amazonaws.com"}


@check
def the_access_log_holds_nothing_that_a_caller_wrote(template):
    (stage,) = resources(template, "AWS::ApiGatewayV2::Stage").values()
    log = stage["Properties"]["AccessLogSettings"]
    assert log["DestinationArn"] == {"Fn::GetAtt": ["ApiLogs", "Arn"]}
    assert set(re.findall(r"\$context\.([\w.]+)", log["Format"])) <= LOGGABLE
    assert "$context.requestId" in log["Format"]
    assert set(json.loads(log["Format"])) >= {"requestId", "route", "status"}  # one line of JSON


@check
def requests_are_limited_and_more_so_where_they_cost(template):
    (stage,) = resources(template, "AWS::ApiGatewayV2::Stage").values()
    limits = {"*": stage["Properties"]["DefaultRouteSettings"], **stage["Properties"]["RouteSettings"]}
    expensive = {"ANY /token", "ANY /revoke", "POST /me/identities", "ANY /introspect"}
    assert set(limits) == {"*"} | expensive

    def limit(route, kind):
        return template["Parameters"][limits[route][f"Throttling{kind}Limit"]["Ref"]]["Default"]

    for kind in ("Rate", "Burst"):
        for route in expensive:
            assert 0 < limit(route, kind) < limit("*", kind)
    # API Gateway refuses more than the account has: in the smallest regions 2,500 a second, and 1,250 at once.
    assert (limit("*", "Rate"), limit("*", "Burst")) == (2500, 1250)
    # Anyone can use up the limit of a route: 500 requests a second of garbage leave most of it.
    assert all(limit(route, kind) >= 1000 for route in expensive for kind in ("Rate", "Burst"))
    # After authentication, each client has a limit of its own, below that of the route.
    variables = functions(template)["token-exchange"][1]["Environment"]["Variables"]
    assert variables["CLIENT_RATE_LIMIT"] == {"Ref": "ClientRateLimit"}
    assert variables["USER_RATE_LIMIT"] == {"Ref": "UserRateLimit"}
    client, user = (template["Parameters"][f"{of}RateLimit"] for of in ("Client", "User"))
    assert 0 < user["Default"] < client["Default"] < 60 * limit("ANY /token", "Rate")
    assert client["MinValue"] == user["MinValue"] == 0  # off
    found = {f: properties.get("ReservedConcurrentExecutions") for f, (_, properties) in functions(template).items()}
    reserved = {"token-exchange": "Token", "authorizer": "Authorizer"}
    assert {f for f, value in found.items() if value is not None} == set(reserved)
    for function, name in reserved.items():
        # Not by default: an account has few executions to reserve.
        parameter, condition = f"{name}ReservedConcurrency", f"Has{name}Reservation"
        assert template["Parameters"][parameter]["Default"] == -1
        assert found[function] == {"Fn::If": [condition, {"Ref": parameter}, {"Ref": "AWS::NoValue"}]}
        assert template["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, -1]}]}
    # API Gateway refuses limits for a route that is not there yet.
    limited = {
        n for n, r in resources(template, "AWS::ApiGatewayV2::Route").items() if r["Properties"]["RouteKey"] in limits
    }
    assert set(stage["DependsOn"]) == limited


# The functions of which instances can be kept started, and the name in front of their parameters.
PROVISIONED = {"token-exchange": "Token", "authorizer": "Authorizer"}


@check
def instances_are_kept_started_at_the_alias_and_on_request_only(template):
    for name in PROVISIONED.values():
        parameter = template["Parameters"][f"{name}ProvisionedConcurrency"]
        assert (parameter["Type"], parameter["Default"], parameter["MinValue"]) == ("Number", 0, 0)
    for wanted in ({}, *({function: "2"} for function in PROVISIONED)):
        for canary in ("true", "false"):
            given = {f"{PROVISIONED[function]}ProvisionedConcurrency": count for function, count in wanted.items()}
            stack = resolve(template, APP | GITHUB | {"Canary": canary} | given)
            found = {
                resource["Properties"]["CodeUri"].removeprefix("functions/"): resource["Properties"]
                for resource in resources(stack, "AWS::Serverless::Function").values()
            }
            kept = {f: p["ProvisionedConcurrencyConfig"] for f, p in found.items() if "ProvisionedConcurrencyConfig" in p}
            assert kept == {f: {"ProvisionedConcurrentExecutions": count} for f, count in wanted.items()}
            # Lambda starts instances of a published version only.
            assert all(found[function]["AutoPublishAlias"] == "live" for function in kept)
    # A new number is no new version: Lambda refuses a change of it while the canary has weights at the alias.
    parameters = {f"{name}ProvisionedConcurrency" for name in PROVISIONED.values()}
    assert not parameters & set(refs(settings_resource(template)[1]))
    for name, (_, properties) in functions(template).items():
        besides = {k: v for k, v in properties.items() if k != "ProvisionedConcurrencyConfig"}
        assert not parameters & set(refs(besides)), name


@check
def every_parameter_and_condition_is_used(template):
    used = set(refs([template["Resources"], template["Outputs"], template["Conditions"], template["Globals"]]))
    used |= {r["Condition"] for part in ("Resources", "Outputs") for r in template[part].values() if "Condition" in r}
    used |= set(refs(template["Rules"]))
    assert set(template["Parameters"]) <= used, set(template["Parameters"]) - used
    assert set(template["Conditions"]) <= used, set(template["Conditions"]) - used


@check
def every_parameter_is_in_the_table_of_settings(template):
    rows = [row.split("|")[2] for row in (ROOT / "docs/settings.md").read_text().splitlines() if row.startswith("| ")]
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert set(template["Parameters"]) <= documented, set(template["Parameters"]) - documented


@check
def the_client_is_composed_as_json(template):
    _, properties = functions(template)["token-exchange"]
    given, whole, composed_of = properties["Environment"]["Variables"]["CLIENTS"]["Fn::If"]
    assert (given, whole) == ("HasClients", {"Ref": "Clients"})
    condition, two, one = composed_of["Fn::If"]
    assert condition == "HasNextSecret"
    values = {"ClientId": "nextjs", "ClientSecretSha256": "a" * 64, "ClientSecretSha256Next": "b" * 64}

    def composed(sub):
        return json.loads(re.sub(r"\$\{(\w+)\}", lambda m: values[m[1]], sub["Fn::Sub"]))

    assert composed(one) == [{"client_id": "nextjs", "secret_sha256": ["a" * 64]}]
    assert composed(two) == [{"client_id": "nextjs", "secret_sha256": ["a" * 64, "b" * 64]}]


@check
def a_bad_parameter_is_refused_before_anything_is_made(template):
    examples = {
        "ClientId": (["nextjs", "my-app.v2"], ["", 'a"', "a b", "x" * 65, "a,b"]),
        "ClientSecretSha256": (["", "0" * 64], ["A" * 64, "0" * 63, "0" * 65, "secret"]),
        "ClientSecretSha256Next": (["", "f" * 64], ["0" * 63]),
        "IssuerUrl": (
            ["", "https://auth.example.com"],
            [
                "http://auth.example.com",
                "https://auth.example.com/",
                "https://a.example.com/x",
                "https://u@a.example.com",
            ],
        ),
        "GitHubClientSecret": (
            ["none", "", "0123456789abcdef", "{{resolve:secretsmanager:cambio/github}}", SECRET, f"{SECRET}:client_secret::", PARAMETER],
            ["arn:aws:iam::123456789012:role/x", SECRET[:-7] + " x", f"{SECRET}:a:AWSPREVIOUS:", f"{PARAMETER}:3", "arn:x"],
        ),
        "SecretArns": (
            ["", SECRET, f"{SECRET},{PARAMETER}"],
            [f"{SECRET},", f"{SECRET}, {PARAMETER}", f"{SECRET}:client_secret::", SECRET[:-6] + "*", "*", "cambio/github"],
        ),
        "SecretsKmsKeyArn": (["", "arn:aws:kms:eu-central-1:123456789012:key/0a-1b"], ["alias/secrets", "0a-1b"]),
        "GitHubApiUrl": (
            ["https://api.github.com", "https://github.example.com/api/v3"],
            ["http://api.github.com", "https://api.github.com/", "", "https://x.example.com?a=b"],
        ),
        "DocumentsCertificateArn": (
            ["", "arn:aws:acm:us-east-1:123456789012:certificate/0a-1b"],
            ["arn:aws:acm:eu-central-1:123456789012:certificate/0a-1b", "0a-1b"],
        ),
        "ExistingTableName": (["", "cambio-restored", "a.b_c-1"], ["ab", "x" * 256, "a b", "a/b", "table/users"]),
        "ExistingKeysTableName": (["", "cambio-keys"], ["a,b", "arn:aws:dynamodb:eu-central-1:1:table/t"]),
        "ApiDomain": (
            ["", "auth.example.com", "example.com"],
            ["https://auth.example.com", "auth.example.com/", "auth", "Auth.example.com", "auth..com", "a b.com"],
        ),
        "ApiCertificateArn": (
            ["", "arn:aws:acm:eu-central-1:123456789012:certificate/0a-1b"],
            ["arn:aws:acm::123456789012:certificate/0a-1b", "0a-1b"],
        ),
        "HostedZoneId": (["", "Z0123456789ABCDEFGHIJ"], ["/hostedzone/Z01", "example.com"]),
        "KeysKmsKeyArn": (["", "arn:aws:kms:eu-central-1:123456789012:key/0a-1b"], ["alias/keys", "0a-1b"]),
        "DataKmsKeyArn": (["", "arn:aws:kms:eu-central-1:123456789012:key/0a-1b"], ["alias/data", "0a-1b"]),
        "AlarmTopicArn": (["", "arn:aws:sns:eu-central-1:123456789012:ops"], ["ops"]),
        "RefreshReuseWindow": (["", "0", "86400"], ["-1", "1d", "12345678"]),
        "Revision": (["1", "2026-11-28.b"], ["", "a b", "x" * 65]),
        "TokenAudience": (["", "https://api.example.com"], ["a b"]),
        "AuthorizerAudiences": (["", "api", "https://a.example.com,https://b.example.com"], ["a b", "a,", "a, b"]),
        "OAuthProviders": (["", '[{"name":"discord"}]', "[\n]"], ['[{"client_secret":"x"}]']),
        "LinkEmailProviders": (["", "google", "google,github"], ["Google", "google,", "google github"]),
    }
    assert set(examples) == {n for n, p in template["Parameters"].items() if "AllowedPattern" in p}
    for name, (good, bad) in examples.items():
        pattern = template["Parameters"][name]["AllowedPattern"]
        assert pattern[0] == "^" and pattern[-1] == "$"
        assert [v for v in good if not re.fullmatch(pattern, v)] == [], name
        assert [v for v in bad if re.fullmatch(pattern, v)] == [], name


def holds(condition, values, conditions=None):
    """The value of a condition of `Rules` or `Conditions` with these parameters."""
    if not isinstance(condition, dict):
        return condition
    ((function, given),) = condition.items()
    if function == "Ref":
        return values[given]
    if function == "Condition":
        return holds(conditions[given], values, conditions)
    args = [holds(argument, values, conditions) for argument in given]
    return {
        "Fn::And": lambda: all(args),
        "Fn::Contains": lambda: args[1] in args[0],
        "Fn::Equals": lambda: str(args[0]) == str(args[1]),
        "Fn::Not": lambda: not args[0],
        "Fn::Or": lambda: any(args),
    }[function]()


def values_of(template, given):
    return {name: str(p.get("Default", "")) for name, p in template["Parameters"].items()} | given


NO_VALUE = {"Ref": "AWS::NoValue"}


def resolve(template, given):
    """The template that CloudFormation sees with the parameters `given`: without conditions, and their branches taken.

    A reference to a parameter is its value, and one to a resource or an attribute is `<name>` or `<name.attribute>`.
    Fails as CloudFormation would: for a resource that is not made, and for an element that a list does not have.
    """
    values, conditions = values_of(template, given), template["Conditions"]
    made = {
        name
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or holds({"Condition": resource["Condition"]}, values, conditions)
    }

    def reference(name, attribute=""):
        if name in values and not attribute:
            return values[name]
        assert name.removesuffix(ALIAS) in made or name.startswith("AWS::"), f"{name} is not made"
        return f"<{name}{attribute and '.'}{attribute}>"

    def value(node):
        if isinstance(node, list):
            return [v for v in map(value, node) if v != NO_VALUE]
        if not isinstance(node, dict) or node == NO_VALUE:
            return node
        if len(node) == 1:
            ((function, args),) = node.items()
            if function == "Ref":
                return reference(args)
            if function == "Fn::If":
                return value(args[1 if holds(conditions[args[0]], values, conditions) else 2])
            if function == "Fn::GetAtt":
                return reference(*args)
            if function == "Fn::Sub" and isinstance(args, str):
                return re.sub(r"\$\{([\w:]+)(?:\.(\w+))?\}", lambda m: reference(m[1], m[2] or ""), args)
            if function == "Fn::Join":
                return args[0].join(value(args[1]))
            if function == "Fn::Split":
                return value(args[1]).split(args[0])
            if function == "Fn::Select":
                return value(args[1])[args[0]]
        return {k: r for k, r in ((k, value(v)) for k, v in node.items()) if r != NO_VALUE}

    def section(nodes, keep):
        return {name: value({k: v for k, v in node.items() if k != "Condition"}) for name, node in nodes.items() if keep(name)}

    outputs = template["Outputs"]
    return {
        "Globals": value(template["Globals"]),
        "Resources": section(template["Resources"], lambda name: name in made),
        "Outputs": section(
            outputs, lambda n: "Condition" not in outputs[n] or holds({"Condition": outputs[n]["Condition"]}, values, conditions)
        ),
    }


def refusals(template, given):
    """The reasons for which CloudFormation refuses a stack with the parameters `given`, before it makes anything."""
    parameters = template["Parameters"]
    reasons = [f"{name} is no parameter" for name in given if name not in parameters]
    reasons += [f"{name} is missing" for name, p in parameters.items() if "Default" not in p and name not in given]
    values = values_of(template, given)
    for name, p in parameters.items():
        if not re.fullmatch(p.get("AllowedPattern", "(?s).*"), values[name]):
            reasons.append(f"{name} {p.get('ConstraintDescription', 'does not match AllowedPattern')}")
        if values[name] not in [str(v) for v in p.get("AllowedValues", [values[name]])]:
            reasons.append(f"{name} is none of AllowedValues")
    for rule in template["Rules"].values():
        if holds(rule.get("RuleCondition", True), values):
            reasons += [a["AssertDescription"] for a in rule["Assertions"] if not holds(a["Assert"], values)]
    return reasons


APP = {"ClientSecretSha256": "0" * 64}
GITHUB = {"GitHubClientId": "Ov23li0123456789abcd", "GitHubClientSecret": "secret"}
GOOGLE = {"OidcProviders": '[{"name":"google","client_ids":["1"]}]'}
CERTIFICATE = {"DocumentsCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/0a-1b"}
DOCUMENTS = {"PublishDocuments": "true"}
ISSUER = {"IssuerUrl": "https://auth.example.com"}
DOMAIN = {"ApiDomain": "api.example.com"}
API_CERTIFICATE = {"ApiCertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/0a-1b"}
ZONE = {"HostedZoneId": "Z0123456789ABCDEFGHIJ"}

# Parameters, with the words by which each refusal is known; none where the stack is made.
COMBINATIONS = [
    (APP | GITHUB, []),
    (APP | GOOGLE, []),
    (APP | GOOGLE | {"GitHubClientSecret": "none"}, []),
    (APP | GOOGLE | {"GitHubClientSecret": ""}, []),
    ({"Clients": "[...]"} | GITHUB, []),
    ({"Clients": "table"} | GITHUB, []),
    ({"Clients": "table", "Providers": "table"}, []),
    (APP | {"Providers": "table"}, []),
    (APP | GITHUB | {"LinkByVerifiedEmail": "ask", "LinkEmailProviders": "github"}, []),
    (APP | GITHUB | CERTIFICATE | {"PublishDocuments": "true", "IssuerUrl": "https://auth.example.com"}, []),
    ({}, ["Give ClientSecretSha256", "Give GitHubClientId"]),
    (GITHUB, ["Give ClientSecretSha256"]),
    (APP, ["Give GitHubClientId"]),
    (APP | {"GitHubClientSecret": "x"}, ["Give GitHubClientId", "GitHubClientSecret is given without GitHubClientId"]),
    (APP | GOOGLE | {"GitHubClientSecret": "x"}, ["GitHubClientSecret is given without GitHubClientId"]),
    (APP | {"GitHubClientId": "x"}, ["GitHubClientId is given without its secret"]),
    (APP | GITHUB | {"GitHubClientSecret": "none"}, ["GitHubClientId is given without its secret"]),
    (APP | GITHUB | {"GitHubClientSecret": ""}, ["GitHubClientId is given without its secret"]),
    (APP | GITHUB | {"Providers": "table"}, ["come from one source"]),
    (APP | GOOGLE | {"Providers": "table"}, ["come from one source"]),
    (APP | {"OAuthProviders": "[...]", "Providers": "table"}, ["come from one source"]),
    (APP | GOOGLE | {"Providers": "elsewhere"}, ["Providers is none of AllowedValues"]),
    (APP | GITHUB | {"LinkByVerifiedEmail": "link"}, ["LinkByVerifiedEmail needs LinkEmailProviders"]),
    (APP | GITHUB | {"LinkEmailProviders": "github"}, ["LinkEmailProviders has no effect"]),
    (APP | GITHUB | CERTIFICATE, ["DocumentsCertificateArn is given without its domain"]),
    (APP | GITHUB | CERTIFICATE | {"PublishDocuments": "true"}, ["DocumentsCertificateArn is given without"]),
    (APP | GITHUB | CERTIFICATE | {"IssuerUrl": "https://a.example"}, ["DocumentsCertificateArn is given without"]),
    (APP | GITHUB | {"ExistingTableName": "a.b", "ExistingKeysTableName": "a.b"}, ["are the same table"]),
    (APP | GITHUB | {"Events": "true", "ExistingTableName": "a.b"}, ["Set Events to false"]),
    (APP | GITHUB | {"Events": "true"}, []),
    (APP | GITHUB | {"Events": "true", "EventsLog": "true"}, []),
    (APP | GITHUB | {"EventsLog": "true"}, ["Set Events to true"]),
    (APP | GITHUB | {"SecretsKmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/0a-1b"}, ["Give SecretArns too"]),
    (
        APP | GITHUB | {"SecretsKmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/0a-1b", "SecretArns": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cambio/github-AbCdEf"},
        [],
    ),
    (APP | GITHUB | {"TokenProvisionedConcurrency": "2", "AuthorizerProvisionedConcurrency": "2"}, []),
    (APP | GITHUB | {"TokenProvisionedConcurrency": "2", "Canary": "false", "TokenReservedConcurrency": "9"}, []),
    (APP | GITHUB | {"TokenReservedConcurrency": "0"}, []),
    (APP | GITHUB | {"TokenProvisionedConcurrency": "2", "TokenReservedConcurrency": "0"}, ["Set TokenProvisionedConcurrency to 0"]),
    (
        APP | GITHUB | {"AuthorizerProvisionedConcurrency": "2", "AuthorizerReservedConcurrency": "0"},
        ["Set AuthorizerProvisionedConcurrency to 0"],
    ),
    (APP | GITHUB | DOMAIN, ["ApiDomain is given without its certificate"]),
    (APP | GITHUB | API_CERTIFICATE, ["ApiCertificateArn is given without its domain"]),
    (APP | GITHUB | DOMAIN | API_CERTIFICATE | ISSUER, ["IssuerUrl and ApiDomain are both given"]),
    (APP | GITHUB | ZONE, ["HostedZoneId is given, and there is no domain"]),
    (APP | GITHUB | ZONE | DOCUMENTS, ["HostedZoneId is given, and there is no domain"]),
    (APP | {"OAuthProviders": '[{"name":"facebook","client_secret":"hunter2"}]'}, ["OAuthProviders must be"]),
]

GATEWAY, FILES = "<HttpApi.ApiEndpoint>", "https://<Distribution.DomainName>"
OWN_API, OWN_ISSUER = "https://api.example.com", "https://auth.example.com"
API_RECORD = {"api.example.com": "<ApiDomainName.RegionalDomainName>"}
DOCUMENTS_RECORD = {"auth.example.com": "<Distribution.DomainName>"}

# Parameters; the issuer, the URL of the API, and API_URL where it is another; the aliases of CloudFront, the records.
DOMAINS = [
    ({}, GATEWAY, GATEWAY, "", [], {}),
    (ISSUER, OWN_ISSUER, GATEWAY, "", [], {}),
    (DOCUMENTS, FILES, GATEWAY, GATEWAY, [], {}),
    (DOCUMENTS | ISSUER, OWN_ISSUER, GATEWAY, GATEWAY, [], {}),
    (DOCUMENTS | ISSUER | CERTIFICATE, OWN_ISSUER, GATEWAY, GATEWAY, ["auth.example.com"], {}),
    (DOCUMENTS | ISSUER | CERTIFICATE | ZONE, OWN_ISSUER, GATEWAY, GATEWAY, ["auth.example.com"], DOCUMENTS_RECORD),
    (DOMAIN | API_CERTIFICATE, OWN_API, OWN_API, "", [], {}),
    (DOMAIN | API_CERTIFICATE | ZONE, OWN_API, OWN_API, "", [], API_RECORD),
    (DOMAIN | API_CERTIFICATE | DOCUMENTS, FILES, OWN_API, OWN_API, [], {}),
    (DOMAIN | API_CERTIFICATE | DOCUMENTS | ZONE, FILES, OWN_API, OWN_API, [], API_RECORD),
    # Something else serves the documents at the issuer's URL, such as a CDN in front of CloudFront.
    (DOMAIN | API_CERTIFICATE | DOCUMENTS | ISSUER, OWN_ISSUER, OWN_API, OWN_API, [], {}),
    (DOMAIN | API_CERTIFICATE | DOCUMENTS | ISSUER | ZONE, OWN_ISSUER, OWN_API, OWN_API, [], API_RECORD),
    (
        DOMAIN | API_CERTIFICATE | DOCUMENTS | ISSUER | CERTIFICATE,
        OWN_ISSUER,
        OWN_API,
        OWN_API,
        ["auth.example.com"],
        {},
    ),
    (
        DOMAIN | API_CERTIFICATE | DOCUMENTS | ISSUER | CERTIFICATE | ZONE,
        OWN_ISSUER,
        OWN_API,
        OWN_API,
        ["auth.example.com"],
        API_RECORD | DOCUMENTS_RECORD,
    ),
]


@check
def a_domain_of_ones_own_reaches_the_api_and_the_documents(template):
    for given, issuer, api, api_url, aliases, records in DOMAINS:
        assert refusals(template, APP | GITHUB | given) == [], given
        stack = resolve(template, APP | GITHUB | given)
        made = stack["Resources"]
        assert stack["Outputs"]["IssuerUrl"]["Value"] == issuer, given
        assert stack["Outputs"]["ApiUrl"]["Value"] == api, given
        shared = stack["Globals"]["Function"]["Environment"]["Variables"]
        assert (shared["ISSUER_URL"], shared["TOKEN_AUDIENCE"]) == (issuer, issuer), given
        functions = [r["Properties"] for r in made.values() if r["Type"] == "AWS::Serverless::Function"]
        variables = [f["Environment"]["Variables"] for f in functions]
        assert {v["API_URL"] for v in variables if "API_URL" in v} == {api_url}, given

        own = api == OWN_API
        # With a domain, requests reach the API by this domain alone; without one, API Gateway's URL stays.
        assert made["HttpApi"]["Properties"]["DisableExecuteApiEndpoint"] is own, given
        assert ("ApiDomainName" in made, "ApiDomainMapping" in made) == (own, own), given
        if own:
            domain, mapping = made["ApiDomainName"]["Properties"], made["ApiDomainMapping"]["Properties"]
            (endpoint,) = domain["DomainNameConfigurations"]
            assert domain["DomainName"] == given["ApiDomain"]
            assert endpoint["CertificateArn"] == given["ApiCertificateArn"]
            assert (endpoint["EndpointType"], endpoint["SecurityPolicy"]) == ("REGIONAL", "TLS_1_2")
            assert mapping == {"ApiId": "<HttpApi>", "DomainName": "<ApiDomainName>", "Stage": "<Stage>"}
        found = {}
        for record in [r["Properties"] for r in made.values() if r["Type"] == "AWS::Route53::RecordSet"]:
            assert (record["HostedZoneId"], record["Type"]) == (given["HostedZoneId"], "A")
            found[record["Name"]] = record["AliasTarget"]["DNSName"]
            # The zone of CloudFront is the same in every account.
            zones = {"<ApiDomainName.RegionalHostedZoneId>", "Z2FDTNDATAQYW2"}
            assert record["AliasTarget"]["HostedZoneId"] in zones
        assert found == records, given
        # Without a zone, the outputs say what the records of one's own point at.
        targets = {n: o["Value"] for n, o in stack["Outputs"].items() if n.endswith("DomainTarget")}
        assert targets == (
            {"ApiDomainTarget": "<ApiDomainName.RegionalDomainName>"} if own else {}
        ) | ({"DocumentsDomainTarget": "<Distribution.DomainName>"} if aliases else {}), given
        if "Distribution" in made:
            config = made["Distribution"]["Properties"]["DistributionConfig"]
            assert config.get("Aliases", []) == aliases, given
            certificate = config["ViewerCertificate"].get("AcmCertificateArn")
            assert certificate == (given["DocumentsCertificateArn"] if aliases else None), given


@check
def every_combination_of_domains_is_made_or_refused(template):
    made = set()
    whole = DOMAIN | API_CERTIFICATE | ZONE | DOCUMENTS | ISSUER | CERTIFICATE
    for chosen in itertools.product([False, True], repeat=len(whole)):
        given = dict(itertools.compress(whole.items(), chosen))
        # Even where a rule refuses it, nothing refers to a resource that is not made or selects from a list too short.
        resolve(template, APP | GITHUB | given)
        if refusals(template, APP | GITHUB | given) == []:
            made.add(frozenset(given))
    assert made == {frozenset(given) for given, *_ in DOMAINS}


@check
def parameters_that_do_not_go_together_are_refused_with_what_to_give(template):
    for given, reasons in COMBINATIONS:
        found = refusals(template, given)
        assert len(found) == len(reasons), (given, found)
        for reason, expected in zip(found, reasons, strict=True):
            assert expected in reason, given
    # CloudFormation evaluates a rule by its parameters alone.
    for name, rule in template["Rules"].items():
        assert set(refs(rule)) <= set(template["Parameters"]), name


@check
def a_secret_in_json_is_a_reference(template):
    pattern = template["Parameters"]["OAuthProviders"]["AllowedPattern"]
    reference = '"{{resolve:secretsmanager:cambio/facebook:SecretString:client_secret}}"'
    arns = [f'[{{"name":"facebook","client_secret":"{arn}"}}]' for arn in (SECRET, f"{SECRET}:client_secret::", PARAMETER)]
    for good in (*arns, "", '[{"name":"discord","client_id":"1"}]', f'[{{"name":"facebook","client_secret": {reference}}}]'):
        assert re.fullmatch(pattern, good), good
    for bad in (
        '[{"client_secret":"hunter2"}]',
        '[{"client_secret" : "hunter2"}]',
        '[{"client_secret":""}]',
        '[{"client_secret":\n"hunter2"}]',
        '[{\n"client_secret":"hunter2"}]',
        f'[{{"client_secret":{reference}}},{{"client_secret":"hunter2"}}]',
        f'[{{"client_secret":"hunter2"}},{{"client_secret":{reference}}}]',
        '[{"client_secret":"arn:aws:iam::hunter2"}]',
        '[{"client_secret":"hunter2 arn:aws:ssm:x"}]',
        '[{"client_secret":"{{resolve:secretsmanager:x}}hunter2"}]',
        '[{"client_secret":"hunter2{{resolve:secretsmanager:x}}"}]',
    ):
        assert not re.fullmatch(pattern, bad), bad


@check
def no_resource_waits_for_itself(template):
    # cfn-lint looks for such circles too, but not through a function that SAM has yet to transform.
    graph = {}
    for name, resource in template["Resources"].items():
        after = resource.get("DependsOn", [])
        is_function = resource["Type"] == "AWS::Serverless::Function"
        shared = dict(template["Globals"]["Function"]) if is_function else {}
        # SAM makes the alias, with the alarms, after the function.
        own = dict(resource["Properties"])
        preference = [of.pop("DeploymentPreference", {}) for of in (shared, own) if is_function]
        if is_function:
            graph[f"{name}{ALIAS}"] = {name, *refs(preference)} & set(template["Resources"])
        names = {*refs([own, shared]), *([after] if isinstance(after, str) else after)}
        known = set(template["Resources"]) | {name for name in names if name.endswith(ALIAS)}
        graph[name] = names & known
    graphlib.TopologicalSorter(graph).prepare()


def settings_resource(template):
    (found,) = resources(template, "Custom::CambioSettings").items()
    return found


@check
def the_settings_are_checked_before_a_function_is_made_or_changed(template):
    name, resource = settings_resource(template)
    properties, found = resource["Properties"], functions(template)
    rotate_keys, _ = found["rotate-keys"]
    # The logical id and the type are those of the resource in every stack: another one would be made anew.
    assert (name, set(resource)) == ("Settings", {"Type", "Properties"})
    assert properties["ServiceToken"] == {"Fn::GetAtt": [rotate_keys, "Arn"]}
    # CloudFormation waits for an hour without it. It is longer than the function with its repetitions may take.
    assert 60 < properties["ServiceTimeout"] <= 600
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert str(properties["Version"]) == cargo["workspace"]["package"]["version"]
    for binary, (function, _) in found.items():
        waits = name in refs(template["Resources"][function])
        assert waits == (binary != "rotate-keys"), binary
    # The keys are made after their KMS key may be used.
    assert properties["After"] == {"Fn::If": ["HasKeysKmsKey", {"Ref": "KeysKmsKeyUse"}, ""]}


# The placeholders of the secrets: any text, and a reference that stays a text.
WITHOUT_SECRETS = {
    "GITHUB_CLIENT_SECRET": {"Fn::If": ["HasGitHub", "not passed", ""]},
    "OAUTH_PROVIDERS": {"Fn::Join": ["{reference:", {"Fn::Split": ["{{resolve:", {"Ref": "OAuthProviders"}]}]},
}


@check
def all_settings_are_checked_and_no_secret_is_among_them(template):
    _, resource = settings_resource(template)
    given = resource["Properties"]["Settings"]
    expected = {}
    for _, properties in functions(template).values():
        expected |= properties["Environment"]["Variables"]
    assert given == expected | WITHOUT_SECRETS
    hidden = {name for name, p in template["Parameters"].items() if p.get("NoEcho")}
    assert not hidden & set(refs(resource)) - {"HasGitHub"}
    # The JSON of the providers contains no secret either, but references.
    reference = "{{resolve:ssm:/cambio/facebook:1}}"
    providers = [{"name": "facebook", "client_id": "1", "client_secret": reference}]
    stack = resolve(template, APP | {"OAuthProviders": json.dumps(providers)})
    settings = stack["Resources"]["Settings"]["Properties"]["Settings"]
    assert "{{resolve" not in json.dumps(settings)
    assert json.loads(settings["OAUTH_PROVIDERS"])[0]["client_secret"] == "{reference:ssm:/cambio/facebook:1}}"
    # Without a secret, none is invented.
    assert settings["GITHUB_CLIENT_SECRET"] == ""
    # The ARNs of the providers are compared with those that the functions may read.
    assert resource["Properties"]["SecretArns"] == {"Ref": "SecretArns"}


@check
def requests_reach_the_alias_of_each_function_when_they_may(template):
    found = functions(template)
    aliases = {f"{name}{ALIAS}" for binary, (name, _) in found.items() if binary not in ("rotate-keys", "authorizer")}
    permissions = resources(template, "AWS::Lambda::Permission")
    assert {p["Properties"]["FunctionName"]["Ref"] for p in permissions.values()} == aliases
    integrations = resources(template, "AWS::ApiGatewayV2::Integration").values()
    assert {i["Properties"]["IntegrationUri"]["Ref"] for i in integrations} == aliases
    for integration in integrations:
        # An update of a stack changes the integration at once: the permission is there before.
        alias, after = integration["Properties"]["IntegrationUri"], integration["DependsOn"]
        needed = {name for name, p in permissions.items() if p["Properties"]["FunctionName"] == alias}
        assert ({after} if isinstance(after, str) else set(after)) == needed
    assert template["Outputs"]["AuthorizerArn"]["Value"] == {"Ref": f"AuthorizerFunction{ALIAS}"}


@check
def a_changed_setting_publishes_a_version_of_each_function(template):
    fingerprint = {"Fn::GetAtt": ["Settings", "Fingerprint"]}
    for binary, (_, properties) in functions(template).items():
        if binary == "rotate-keys":
            # The settings of rotate-keys are not checked before, and the schedule calls the newest code.
            assert not {"AutoPublishAlias", "VersionDescription"} & set(properties)
            assert properties["DeploymentPreference"] == {"Enabled": False}
            continue
        assert properties["AutoPublishAlias"] == "live", binary
        assert properties["VersionDescription"] == fingerprint, binary
        # Lambda publishes no version of a function whose configuration is the one of the last version.
        assert "${Settings.Fingerprint}" in properties["Description"]["Fn::Sub"], binary
        # The alarms alone are the function's own.
        assert "AutoPublishCodeSha256" not in properties and set(properties["DeploymentPreference"]) == {"Alarms"}, binary
    # A secret is not compared, so another text is.
    assert settings_resource(template)[1]["Properties"]["Revision"] == {"Ref": "Revision"}


@check
def a_new_version_gets_a_part_of_the_requests_first(template):
    # test_alarms.py has the alarms that give them back.
    preference = template["Globals"]["Function"]["DeploymentPreference"]
    assert preference == {"Enabled": {"Ref": "Canary"}, "Type": "Canary10Percent5Minutes"}
    canary = template["Parameters"]["Canary"]
    assert (canary["Default"], canary["AllowedValues"]) == ("true", ["true", "false"])


# The source of the log line of a request.
LINE = (ROOT / "shared/src/telemetry/request.rs").read_text()


def breaches_without_data(alarm):
    treatment = alarm["Properties"]["TreatMissingData"]
    assert treatment in ("breaching", "notBreaching")
    return treatment == "breaching"


def alarm_metrics(template):
    """The number of metrics that the alarms are billed for."""
    alarms = standing_alarms(template).values()
    return sum(len([m for m in a["Properties"].get("Metrics", []) if "MetricStat" in m]) or 1 for a in alarms)


@check
def the_pages_have_each_alarm_and_their_number(template):
    names = {name.removesuffix("Alarm") for name in standing_alarms(template)}
    page = (ROOT / "docs/operate.md").read_text()
    section = page.split("\n## Alarms\n")[1].split("\n## ")[0]
    paragraphs = re.findall(r"\n### `(\w+)`\n\n(.+?)(?=\n### |\Z)", section, re.DOTALL)
    assert {name for name, _ in paragraphs} == names and len(paragraphs) == len(names)
    for name, text in paragraphs:
        assert text.startswith("Meaning: ") and "\n\nWhat to do: " in text, name
    deploy = (ROOT / "docs/deploy.md").read_text()
    custom = {
        t["MetricName"]
        for f in resources(template, "AWS::Logs::MetricFilter").values()
        if "Condition" not in f
        for t in f["Properties"]["MetricTransformations"]
    }
    count = f"{len(names)} alarms on {alarm_metrics(template)} metrics"
    assert count in deploy, count
    assert count in page and f"{len(custom)} metrics of its own" in page


@check
def the_dashboard_shows_metrics_that_exist(template):
    dashboard = template["Resources"]["MetricsDashboard"]
    assert dashboard["Condition"] == "HasDashboard"
    body, values = dashboard["Properties"]["DashboardBody"]["Fn::Sub"]
    assert values == {"Users": NAME["Table"]}
    names = set(re.findall(r"\$\{([\w:.]+)\}", body))
    own = {name.split(".")[0] for name in names if not name.startswith("AWS::")} - set(values)
    assert own <= set(template["Resources"]), own - set(template["Resources"])
    widgets = json.loads(body)["widgets"]
    places = [(w["x"], w["y"]) for w in widgets]
    assert len(set(places)) == len(places) and all(w["x"] + w["width"] <= 24 for w in widgets)
    (alarms,) = [w["properties"]["alarms"] for w in widgets if w["type"] == "alarm"]
    assert sorted(alarms) == sorted("${%s.Arn}" % name for name in standing_alarms(template))
    metrics = [m for w in widgets for m in w["properties"].get("metrics", [])]
    assert len(metrics) <= 50, "a dashboard with more metrics is not free"
    filters = resources(template, "AWS::Logs::MetricFilter").values()
    made = {t["MetricName"] for f in filters if "Condition" not in f for t in f["Properties"]["MetricTransformations"]}
    shown = {m[1] for m in metrics if m[0] == "Cambio/${AWS::StackName}"}
    assert shown == made
    assert all(w["properties"]["region"] == "${AWS::Region}" for w in widgets if w["type"] == "metric")


@check
def metrics_of_requests_are_bounded_and_made_on_request_only(template):
    assert template["Parameters"]["RequestMetrics"]["Default"] == "false"
    filters = {
        name: f["Properties"]
        for name, f in resources(template, "AWS::Logs::MetricFilter").items()
        if f.get("Condition", "HasCanary") != "HasCanary"
    }
    logs = {properties["LoggingConfig"]["LogGroup"]["Ref"] for _, properties in functions(template).values()}
    logs.remove("RotateKeysLogs")
    by_metric = {}
    for name, properties in filters.items():
        assert template["Resources"][name]["Condition"] == "HasRequestMetrics"
        (transformation,) = properties["MetricTransformations"]
        by_metric.setdefault(transformation["MetricName"], set()).add(properties["LogGroupName"]["Ref"])
        fields = [transformation["MetricValue"], *(d["Value"] for d in transformation["Dimensions"])]
        for field in fields:
            assert re.search(rf"\b{re.escape(field.removeprefix('$.'))}\b = ", LINE), field
        # Each value of a dimension costs: names of functions, outcomes and configured providers are few.
        assert {d["Value"] for d in transformation["Dimensions"]} <= {"$.function", "$.outcome", "$.provider"}
        assert "DefaultValue" not in transformation  # CloudWatch refuses it beside dimensions
        assert properties["FilterPattern"].startswith('{ $.event = "request"')
    assert by_metric == {"RequestMs": logs, "ProviderMs": {"TokenExchangeLogs", "IdentitiesLogs"}}


@check
def traces_are_sent_on_request_only(template):
    assert template["Globals"]["Function"]["Tracing"] == {"Fn::If": ["HasTracing", "Active", "PassThrough"]}
    assert template["Parameters"]["Tracing"]["Default"] == "false"
    use = template["Resources"]["TracingUse"]
    assert use["Condition"] == "HasTracing"
    roles = {role_of(template, properties)[0] for _, properties in functions(template).values()}
    assert {role["Ref"] for role in use["Properties"]["Roles"]} == roles
    (statement,) = statements([use["Properties"]])
    assert statement["Sid"] == "SendTraces"


@check
def trouble_is_noticed(template):
    alarms = standing_alarms(template).values()
    own = {"Fn::Sub": "Cambio/${AWS::StackName}"}
    watched = []
    for alarm in alarms:
        properties = alarm["Properties"]
        metrics = [m["MetricStat"]["Metric"] for m in properties.get("Metrics", []) if "MetricStat" in m] or [properties]
        for metric in metrics:
            namespace = "own" if metric["Namespace"] == own else metric["Namespace"]
            about = [d["Value"] for d in metric.get("Dimensions", [])]
            names = [v if isinstance(v, str) else v.get("Ref", "table") for v in about]
            watched.append((namespace, metric["MetricName"], *names))
            assert "table" not in watched[-1] or about == [NAME["Table"]]
    assert sorted(watched) == [
        ("AWS/ApiGateway", "4xx", "HttpApi"),
        ("AWS/ApiGateway", "5xx", "HttpApi"),
        ("AWS/ApiGateway", "Count", "HttpApi"),
        ("AWS/ApiGateway", "Count", "HttpApi"),
        ("AWS/ApiGateway", "Latency", "HttpApi"),
        ("AWS/DynamoDB", "ReadThrottleEvents", "table"),
        ("AWS/DynamoDB", "WriteThrottleEvents", "table"),
        ("AWS/Lambda", "Errors", "AuthorizerFunction"),
        ("AWS/Lambda", "Errors", "RotateKeysFunction"),
        ("AWS/Lambda", "Errors", "RotateKeysFunction"),
        ("AWS/Lambda", "Errors", "TokenExchangeFunction"),
        ("AWS/Lambda", "Invocations", "AuthorizerFunction"),
        ("AWS/Lambda", "Invocations", "RotateKeysFunction"),
        ("AWS/Lambda", "Throttles", "AuthorizerFunction"),
        ("AWS/Lambda", "Throttles", "TokenExchangeFunction"),
        ("AWS/Usage", "ResourceCount", "Lambda", "Resource", "ConcurrentExecutions", "None"),
        ("own", "Limited"),
        ("own", "ProviderFailed"),
        ("own", "ReuseDetected"),
    ]
    # The expressions of an alarm use its metrics, and only their result is compared with the threshold.
    for alarm in alarms:
        metrics = alarm["Properties"].get("Metrics", [])
        (expression,) = [m["Expression"] for m in metrics if "Expression" in m] or [""]
        given = {m["Id"] for m in metrics if "MetricStat" in m and m["ReturnData"] is False}
        assert given == set(re.findall(r"\b[a-z]+\b", expression)), expression
    for alarm in alarms:
        assert "AlarmTopicArn" in refs(alarm["Properties"]["AlarmActions"])
    # Only what runs daily is missed; other metrics have no data while there are no requests.
    missed = [name for name, a in resources(template, "AWS::CloudWatch::Alarm").items() if breaches_without_data(a)]
    assert missed == ["RotateKeysOverdueAlarm"]
    overdue = template["Resources"]["RotateKeysOverdueAlarm"]["Properties"]
    assert overdue["ComparisonOperator"] == "LessThanThreshold" and overdue["Threshold"] == 1
    assert {m["MetricStat"]["Period"] for m in overdue["Metrics"] if "MetricStat" in m} == {24 * 60 * 60}
    # CloudWatch's limits: a day for periods of less than an hour, otherwise seven days.
    for alarm in alarms:
        properties = alarm["Properties"]
        periods = [m["MetricStat"]["Period"] for m in properties.get("Metrics", []) if "MetricStat" in m]
        for period in periods or [properties["Period"]]:
            assert period * properties["EvaluationPeriods"] <= (86_400 if period < 3600 else 604_800)
        assert properties.get("DatapointsToAlarm", 1) <= properties["EvaluationPeriods"]
    filters = {
        name: f for name, f in resources(template, "AWS::Logs::MetricFilter").items() if "Condition" not in f
    }
    reuse, limited = filters["ReuseDetectedMetric"], filters["LimitedMetric"]
    assert set(filters) == {
        "LimitedMetric",
        "ProviderFailedLinkMetric",
        "ProviderFailedMetric",
        "ReuseDetectedMetric",
    }
    for name, logs in (("ProviderFailedMetric", "TokenExchangeLogs"), ("ProviderFailedLinkMetric", "IdentitiesLogs")):
        properties = filters[name]["Properties"]
        assert properties["LogGroupName"] == {"Ref": logs}
        assert [t["MetricName"] for t in properties["MetricTransformations"]] == ["ProviderFailed"]
        event, outcome = re.fullmatch(
            r'\{ \$\.event = "(\w+)" && \$\.outcome = "(\w+)" \}', properties["FilterPattern"]
        ).groups()
        assert f'event = "{event}"' in LINE
        assert f'Self::ProviderUnavailable {{ .. }} => "{outcome}"' in (ROOT / "shared/src/http/error.rs").read_text()
    (transformation,) = limited["Properties"]["MetricTransformations"]
    assert (transformation["MetricNamespace"], transformation["MetricName"]) == (own, "Limited")
    # As the access log writes it: a text.
    log = json.loads(template["Resources"]["Stage"]["Properties"]["AccessLogSettings"]["Format"])
    assert limited["Properties"]["LogGroupName"] == {"Ref": "ApiLogs"} and log["status"] == "$context.status"
    assert limited["Properties"]["FilterPattern"] == '{ $.status = "429" }'
    (event,) = re.findall(r'\$\.event = "([\w.]+)"', reuse["Properties"]["FilterPattern"])
    assert reuse["Properties"]["LogGroupName"] == {"Ref": "TokenExchangeLogs"}
    assert f'event = "{event}"' in (ROOT / "shared/src/sessions/store.rs").read_text()


# AWS's examples: "Multivalued context keys", "Using IAM with DynamoDB transactions".
@pytest.mark.parametrize(
    "condition, context, expected",
    [
        ({"ForAllValues:StringLike": {LEADING_KEYS: ["USER#*"]}}, {}, True),
        ({"ForAllValues:StringLike": {LEADING_KEYS: ["USER#*"]}}, {LEADING_KEYS: ["USER#1", "KEY#1"]}, False),
        ({"ForAllValues:StringLike": {LEADING_KEYS: ["USER#*", "KEY#*"]}}, {LEADING_KEYS: ["USER#1", "KEY#1"]}, True),
        ({"ForAnyValue:StringEquals": {ENCLOSING: [TRANSACTION]}}, {}, False),
        ({"ForAnyValue:StringEquals": {ENCLOSING: [TRANSACTION, "x"]}}, {ENCLOSING: [TRANSACTION]}, True),
        ({"Null": {LEADING_KEYS: "false"}}, {}, False),
        ({"Null": {LEADING_KEYS: "false"}}, {LEADING_KEYS: ["x"]}, True),
        ({"Null": {LEADING_KEYS: "true"}}, {}, True),
        ({"Null": {LEADING_KEYS: "false"}, "ForAllValues:StringLike": {LEADING_KEYS: ["a"]}}, {LEADING_KEYS: ["b"]}, False),
    ],
)
def test_a_condition_is_evaluated_as_the_guide_says(condition, context, expected):
    assert condition_holds(condition, context) is expected


@pytest.mark.parametrize("holds", CHECKS, ids=lambda c: c.__name__)
def test(holds):
    holds(load())


# --- The linters ------------------------------------------------------------------------------------------------------


def run(*command, template=TEMPLATE):
    # A region of its own, and no account: what a linter says must not depend on whose machine it is.
    env = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"}
    path = [str(template) if c == "{}" else c for c in command]
    return subprocess.run([BIN / path[0], *path[1:]], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


CFN_LINT = ("cfn-lint", "--regions", "eu-central-1", "us-east-1", "--", "{}")
SAM_VALIDATE = ("sam", "validate", "--lint", "--template-file", "{}")


EXAMPLES = sorted([*ROOT.glob("examples/protect/*.yaml"), ROOT / "examples/orders/template.yaml"])


@pytest.mark.parametrize("linter", [CFN_LINT, SAM_VALIDATE], ids=lambda c: c[0])
@pytest.mark.parametrize("template", EXAMPLES, ids=lambda path: path.stem)
def test_the_linter_has_no_complaint_about_an_example(linter, template):
    result = run(*linter, template=template)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_function_of_ones_own_reads_the_public_keys_and_nothing_else():
    example = load(ROOT / "examples/orders/template.yaml")
    (policy,) = example["Resources"]["Function"]["Properties"]["Policies"]
    (statement,) = policy["Statement"]
    assert statement["Action"] == [READ]
    assert "table/${KeysTableName}" in statement["Resource"]["Fn::Sub"]
    assert statement["Condition"] == {
        "Null": {"dynamodb:LeadingKeys": "false"},
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["KEYSET"]},
    }


def test_no_answer_of_the_authorizer_is_kept_for_another_route():
    example = load(ROOT / "examples/protect/lambda-authorizer.yaml")
    authorizer = example["Resources"]["Authorizer"]["Properties"]
    assert authorizer["IdentitySource"] == ["$request.header.Authorization", "$context.routeKey"]
    assert authorizer["EnableSimpleResponses"] is True
    assert authorizer["AuthorizerPayloadFormatVersion"] == "2.0"
    seconds = example["Parameters"]["AuthorizerCacheSeconds"]
    assert (seconds["Default"], seconds["MaxValue"]) == (0, 300)
    for name in ("OrdersRoute",):
        assert example["Resources"][name]["Properties"]["AuthorizerId"] == {"Ref": "Authorizer"}


def authorizer_of_rest_api(name):
    example = load(ROOT / f"examples/protect/{name}.yaml")
    seconds = example["Parameters"]["AuthorizerCacheSeconds"]
    assert (seconds["Default"], seconds["MaxValue"]) == (0, 300)
    auth = example["Resources"]["Api"]["Properties"]["Auth"]
    assert auth["DefaultAuthorizer"] == "Cambio" and list(auth["Authorizers"]) == ["Cambio"]
    authorizer = auth["Authorizers"]["Cambio"]
    # API Gateway keeps a policy for 300 s where this is not set.
    assert authorizer["Identity"].pop("ReauthorizeEvery") == {"Ref": "AuthorizerCacheSeconds"}
    return authorizer


def test_no_policy_of_the_authorizer_is_kept_for_another_method_of_a_rest_api():
    authorizer = authorizer_of_rest_api("rest-authorizer")
    assert authorizer["FunctionPayloadType"] == "REQUEST"
    assert authorizer["Identity"] == {"Headers": ["Authorization"], "Context": ["httpMethod", "path"]}


def test_a_policy_of_the_authorizer_is_kept_by_the_token_where_no_route_decides():
    authorizer = authorizer_of_rest_api("rest-token-authorizer")
    assert authorizer["FunctionPayloadType"] == "TOKEN"
    assert authorizer["Identity"] == {"Header": "Authorization"}


@pytest.mark.parametrize("linter", [CFN_LINT, SAM_VALIDATE], ids=lambda c: c[0])
def test_the_linter_has_no_complaint(linter):
    result = run(*linter)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("canary", ["true", "false"])
def test_sam_puts_started_instances_on_the_alias_that_codedeploy_moves(canary, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    given = APP | GITHUB | {"Canary": canary, "TokenProvisionedConcurrency": "2"}
    # As `sam deploy` gives it: the parameters' values, and the code in a bucket.
    template = json.loads(json.dumps(load()))
    for resource in resources(template, "AWS::Serverless::Function").values():
        resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
    loader = SimpleNamespace(load=dict)

    deployed = transform(template, values_of(template, given), loader)

    aliases = resources(deployed, "AWS::Lambda::Alias")
    kept = {name for name, alias in aliases.items() if "ProvisionedConcurrencyConfig" in alias["Properties"]}
    assert kept == {"TokenExchangeFunctionAliaslive", "AuthorizerFunctionAliaslive"}
    condition, provision, none = aliases["TokenExchangeFunctionAliaslive"]["Properties"]["ProvisionedConcurrencyConfig"]["Fn::If"]
    assert (condition, none) == ("HasTokenProvision", NO_VALUE)
    assert provision == {"ProvisionedConcurrentExecutions": {"Ref": "TokenProvisionedConcurrency"}}
    moved = {name for name, alias in aliases.items() if "CodeDeployLambdaAliasUpdate" in alias.get("UpdatePolicy", {})}
    assert moved == (set(aliases) if canary == "true" else set())


@pytest.mark.parametrize("linter", [CFN_LINT, SAM_VALIDATE], ids=lambda c: c[0])
def test_the_linter_complains_of_a_broken_template(linter, tmp_path):
    broken = tmp_path / "template.yaml"
    broken.write_text(TEMPLATE.read_text().replace("PAY_PER_REQUEST", "PAY_PER_MOON"))

    result = run(*linter, template=broken)

    assert result.returncode != 0
    assert "PAY_PER_MOON" in result.stdout + result.stderr


# --- Each check can fail ----------------------------------------------------------------------------------------------


def follow(template, path):
    """The container and the key that a path leads to: below Resources, or with a leading slash below the template."""
    *parents, last = path.lstrip("/").split("/")
    node = template if path.startswith("/") else template["Resources"]
    for step in parents:
        node = node[int(step) if isinstance(node, list) else step]
    return node, int(last) if isinstance(node, list) else last


def put(path, value):
    def change(template):
        node, key = follow(template, path)
        node[key] = value

    return change


def replaced(path, old, new):
    def change(template):
        node, key = follow(template, path)
        assert old in node[key]
        node[key] = node[key].replace(old, new)

    return change


def drop(path):
    def change(template):
        node, key = follow(template, path)
        del node[key]

    return change


def drop_key(path, key):
    """For a key that has a slash in it."""

    def change(template):
        node, last = follow(template, path)
        del node[last][key]

    return change


def widen(permission, path, pattern):
    """Lets a permission's path be another one."""

    def change(template):
        source = template["Resources"][permission]["Properties"]["SourceArn"]
        assert source["Fn::Sub"].endswith(path)
        source["Fn::Sub"] = source["Fn::Sub"].removesuffix(path) + pattern

    return change


def statement(role, index):
    return f"{role}/Properties/Policies/0/PolicyDocument/Statement/{index}"


LEADING = "Condition/ForAllValues:StringLike/dynamodb:LeadingKeys"
IN_TRANSACTIONS = [("TokenExchangeRole", 3), ("MeRole", 1), ("IdentitiesRole", 2), ("RotateKeysRole", 1)]


def split(role, index):
    """Makes a statement for each leading key out of one."""

    def change(template):
        found, key = follow(template, statement(role, index))
        whole = found.pop(key)
        for pattern in whole["Condition"]["ForAllValues:StringLike"][LEADING_KEYS]:
            condition = {**whole["Condition"], "ForAllValues:StringLike": {LEADING_KEYS: [pattern]}}
            found.append({**whole, "Condition": condition})

    return change


VARIABLES = "Properties/Environment/Variables"
PROVISION = "Properties/ProvisionedConcurrencyConfig/Fn::If"

BREAKS = [
    (every_function_crate_is_deployed_as_a_lambda_binary_of_its_own, drop("DiscoveryFunction")),
    (every_function_crate_is_deployed_as_a_lambda_binary_of_its_own, put("MeFunction/Properties/CodeUri", ".")),
    (every_function_crate_is_deployed_as_a_lambda_binary_of_its_own, put("/Globals/Function/Architectures", ["arm64"])),
    (a_function_has_its_verbs_on_its_items_and_no_more, put(statement("MeRole", 0) + "/Action", [READ, UPDATE])),
    (a_function_has_its_verbs_on_its_items_and_no_more, put(statement("MeRole", 0) + f"/{LEADING}", ["*"])),
    (a_function_has_its_verbs_on_its_items_and_no_more, drop(statement("MeRole", 0) + "/Condition/Null")),
    (
        a_function_has_its_verbs_on_its_items_and_no_more,
        put(statement("MeRole", 2) + "/Resource", ARN["Table"]),
    ),
    (a_function_has_its_verbs_on_its_items_and_no_more, drop(statement("TokenExchangeRole", 1))),
    (
        a_function_has_its_verbs_on_its_items_and_no_more,
        put(statement("MeRole", 1) + "/Condition/ForAnyValue:StringEquals", {ENCLOSING: [TRANSACTION, "TransactGetItems"]}),
    ),
    # A statement for each prefix, as if AWS evaluated item by item.
    *((each_route_passes_whatever_keys_aws_supplies_in_a_transaction, split(role, index)) for role, index in IN_TRANSACTIONS),
    # A key is required, as if AWS supplied one.
    *(
        (
            each_route_passes_whatever_keys_aws_supplies_in_a_transaction,
            put(statement(role, index) + "/Condition/Null", {LEADING_KEYS: "false"}),
        )
        for role, index in IN_TRANSACTIONS
    ),
    (each_route_passes_whatever_keys_aws_supplies_in_a_transaction, drop(statement("RevokeRole", 0))),
    *(
        (
            what_a_function_does_not_do_is_denied_as_far_as_aws_documents_conditions,
            drop(statement(role, index) + f"/Condition/{operator}"),
        )
        for role, index in IN_TRANSACTIONS
        for operator in ("ForAnyValue:StringEquals", "ForAllValues:StringLike")
    ),
    (
        what_a_function_does_not_do_is_denied_as_far_as_aws_documents_conditions,
        drop(statement("MeRole", 0) + "/Condition/Null"),
    ),
    (
        what_a_function_does_not_do_is_denied_as_far_as_aws_documents_conditions,
        put(statement("TokenExchangeRole", 3) + "/Action", [PUT, UPDATE, DELETE, "dynamodb:ConditionCheckItem"]),
    ),
    (
        no_reading_of_a_transaction_reaches_another_functions_work,
        put(statement("DiscoveryRole", 0) + "/Condition", {"ForAnyValue:StringEquals": {ENCLOSING: ["TransactGetItems"]}}),
    ),
    (no_reading_of_a_transaction_reaches_another_functions_work, put(statement("RotateKeysRole", 0) + "/Action", [PUT])),
    (only_the_operator_writes_the_clients_and_the_providers, put(statement("TokenExchangeRole", 4) + "/Action", [READ, PUT])),
    (
        only_the_operator_writes_the_clients_and_the_providers,
        put(statement("RotateKeysRole", 1) + f"/{LEADING}", ["KEYSET", "KEY#*", "CLIENTS"]),
    ),
    (only_the_operator_writes_the_clients_and_the_providers, put(statement("RevokeRole", 2) + f"/{LEADING}", ["KEYSET", "PROVIDERS"])),
    (
        no_reading_of_a_transaction_reaches_another_functions_work,
        put(statement("MeRole", 1) + "/Resource", ARN["KeysTable"]),
    ),
    (
        the_authorizer_reads_users_only_where_it_is_live,
        put(statement("AuthorizerRole", 1) + "/Fn::If/0", "HasIssuerUrl"),
    ),
    (
        the_authorizer_reads_users_only_where_it_is_live,
        put(statement("AuthorizerRole", 0) + "/Resource", ARN["Table"]),
    ),
    (the_authorizer_reads_users_only_where_it_is_live, put("/Conditions/AuthorizerIsLive/Fn::Equals/1", "false")),
    (leading_keys_are_the_prefixes_of_the_code, put(statement("RevokeRole", 0) + f"/{LEADING}", ["USERS#*"])),
    (leading_keys_are_the_prefixes_of_the_code, put(statement("DiscoveryRole", 0) + f"/{LEADING}", ["KEY#*", "KEYSET#*"])),
    (no_permission_is_broader_than_one_resource, put(statement("MeRole", 3) + "/Resource", "*")),
    (no_permission_is_broader_than_one_resource, put(statement("MeRole", 3) + "/Action", ["logs:*"])),
    (
        no_permission_is_broader_than_one_resource,
        put("MeRole/Properties/ManagedPolicyArns", ["arn:aws:iam::aws:policy/X"]),
    ),
    (no_permission_is_broader_than_one_resource, put("Managed", {"Type": "AWS::IAM::ManagedPolicy"})),
    (
        each_function_has_a_role_of_its_own_and_sam_adds_nothing_to_it,
        put("MeFunction/Properties/Role", {"Fn::GetAtt": ["RotateKeysRole", "Arn"]}),
    ),
    (each_function_has_a_role_of_its_own_and_sam_adds_nothing_to_it, put("MeFunction/Properties/Policies", [])),
    (each_function_has_a_role_of_its_own_and_sam_adds_nothing_to_it, put("MeFunction/Properties/Tracing", "Active")),
    (traces_are_sent_on_request_only, put("/Globals/Function/Tracing", "Active")),
    (traces_are_sent_on_request_only, drop("TracingUse/Condition")),
    (traces_are_sent_on_request_only, drop("TracingUse/Properties/Roles/0")),
    (no_permission_is_broader_than_one_resource, put("TracingUse/Properties/PolicyDocument/Statement/0/Action", ["xray:GetTraceSummaries"])),
    (nothing_can_scan_and_few_can_query_or_delete, put(statement("MeRole", 0) + "/Action", [READ, "dynamodb:Scan"])),
    (nothing_can_scan_and_few_can_query_or_delete, put(statement("MeRole", 0) + "/Action", ["dynamodb:*"])),
    (nothing_can_scan_and_few_can_query_or_delete, put(statement("SessionsRole", 0) + "/Action", [READ, DELETE])),
    (nothing_can_scan_and_few_can_query_or_delete, put(statement("RevokeRole", 0) + "/Action", [UPDATE, QUERY])),
    (
        only_the_functions_that_sign_or_rotate_can_read_a_private_key,
        put(statement("DiscoveryRole", 0) + f"/{LEADING}", ["KEY*"]),
    ),
    (only_the_functions_that_sign_or_rotate_can_read_a_private_key, drop(statement("MeRole", 2) + "/Condition")),
    (only_the_functions_that_ask_providers_read_their_secrets, put(statement("TokenExchangeRole", 7) + "/Fn::If/0", "HasGitHub")),
    (only_the_functions_that_ask_providers_read_their_secrets, put(statement("IdentitiesRole", 5) + "/Fn::If/1/Action", ["ssm:GetParameter", "ssm:PutParameter"])),
    (only_the_functions_that_ask_providers_read_their_secrets, drop(statement("IdentitiesRole", 6) + "/Fn::If/1/Condition")),
    (only_the_functions_that_ask_providers_read_their_secrets, drop(statement("IdentitiesRole", 5))),
    (only_the_functions_that_ask_providers_read_their_secrets, put(statement("MeRole", 3) + "/Action", ["secretsmanager:GetSecretValue"])),
    (no_permission_is_broader_than_one_resource, put(statement("TokenExchangeRole", 7) + "/Fn::If/1/Action", ["secretsmanager:PutSecretValue"])),
    (a_kms_key_is_used_through_dynamodb_only, drop("KeysKmsKeyUse/Properties/PolicyDocument/Statement/0/Condition")),
    (a_kms_key_is_used_through_dynamodb_only, drop("KeysKmsKeyUse/Properties/Roles/1")),
    (a_kms_key_is_used_through_dynamodb_only, drop("DataKmsKeyUse/Properties/PolicyDocument/Statement/0/Condition")),
    (a_kms_key_is_used_through_dynamodb_only, drop("DataKmsKeyUse/Properties/Roles/1")),
    (
        a_kms_key_is_used_through_dynamodb_only,
        put("Table/Properties/SSESpecification/KMSMasterKeyId/Fn::If/1", {"Ref": "KeysKmsKeyArn"}),
    ),
    (every_log_has_an_end_and_one_writer, drop("ApiLogs/Properties/KmsKeyId")),
    (every_log_has_an_end_and_one_writer, drop("EventsLogs/Properties/RetentionInDays")),
    (every_log_has_an_end_and_one_writer, replaced("EventsLogPolicy/Properties/PolicyDocument/Fn::Sub", "${EventsLogs.Arn}", "*")),
    (every_log_has_an_end_and_one_writer, replaced("EventsLogPolicy/Properties/PolicyDocument/Fn::Sub", "delivery.logs", "lambda")),
    (a_function_gets_the_settings_that_it_uses_and_no_more, put(f"MeFunction/{VARIABLES}/CLIENTS", "[]")),
    (a_function_gets_the_settings_that_it_uses_and_no_more, put("/Globals/Function/Environment", {"Variables": {}})),
    (a_function_gets_the_settings_that_it_uses_and_no_more, put("/Globals/Function/Environment/Variables/CLIENTS", "")),
    (a_function_gets_the_settings_that_it_uses_and_no_more, drop(f"DiscoveryFunction/{VARIABLES}/TOKEN_AUDIENCE")),
    (a_setting_means_the_same_to_every_function, put(f"RevokeFunction/{VARIABLES}/TABLE_NAME", {"Ref": "KeysTable"})),
    (a_setting_means_the_same_to_every_function, put(f"SessionsFunction/{VARIABLES}/ISSUER_URL", "https://x")),
    (a_setting_means_the_same_to_every_function, put(f"MeFunction/{VARIABLES}/TOKEN_AUDIENCE", {"Ref": "IssuerUrl"})),
    (a_setting_means_the_same_to_every_function, put(f"RevokeFunction/{VARIABLES}/CLIENTS/Fn::If/0", "HasIssuerUrl")),
    (every_setting_is_one_that_the_code_reads, put(f"MeFunction/{VARIABLES}/ISUER_URL", "x")),
    (secrets_are_never_echoed, put("/Parameters/GitHubClientSecret/NoEcho", False)),
    (secrets_are_never_echoed, put("/Parameters/GitHubClientSecret/Default", "x")),
    (secrets_are_never_echoed, put("/Parameters/OAuthProviders/NoEcho", True)),
    (secrets_are_never_echoed, put(f"TokenExchangeFunction/{VARIABLES}/GITHUB_CLIENT_SECRET", {"Ref": "ClientId"})),
    (
        secrets_are_never_echoed,
        put(f"IdentitiesFunction/{VARIABLES}/GITHUB_CLIENT_SECRET/Fn::If/1", {"Ref": "ClientId"}),
    ),
    *(
        (parameters_that_do_not_go_together_are_refused_with_what_to_give, drop(f"/Rules/{rule}"))
        for rule in load()["Rules"]
    ),
    (
        parameters_that_do_not_go_together_are_refused_with_what_to_give,
        put("/Rules/SomeProvider/Assertions/0/Assert/Fn::Not/0/Fn::And/1", True),
    ),
    (
        parameters_that_do_not_go_together_are_refused_with_what_to_give,
        put("/Rules/GitHubSecretHasId/RuleCondition/Fn::Not/0/Fn::Contains/0", [""]),
    ),
    (parameters_that_do_not_go_together_are_refused_with_what_to_give, drop("/Parameters/GitHubClientId/Default")),
    (
        a_secret_in_json_is_a_reference,
        put("/Parameters/OAuthProviders/AllowedPattern", r'^(?!.*"client_secret":\s*"(?!\{\{resolve:)).*$'),
    ),
    (secrets_are_never_echoed, put("/Outputs/TableName/Value", {"Fn::Sub": "${GitHubClientSecret}"})),
    (secrets_are_never_echoed, put("/Globals/Function/Environment/Variables/X", {"Ref": "GitHubClientSecret"})),
    (the_routes_are_those_of_cargo_lambda_watch, drop("MeRoute")),
    (the_routes_are_those_of_cargo_lambda_watch, put("TokenRoute/Properties/RouteKey", "ANY /tokens")),
    (
        the_routes_are_those_of_cargo_lambda_watch,
        put("MeRoute/Properties/Target", {"Fn::Sub": "integrations/${DiscoveryIntegration}"}),
    ),
    (every_method_of_a_path_reaches_its_function, put("TokenRoute/Properties/RouteKey", "POST /token")),
    (every_method_of_a_path_reaches_its_function, put("MeRoute/Properties/RouteKey", "GET /me")),
    (every_method_of_a_path_reaches_its_function, put("JwksRoute/Properties/RouteKey", "GET /me")),
    (every_method_of_a_path_reaches_its_function, put("HttpApi/Properties/CorsConfiguration", {})),
    (only_the_api_can_invoke_a_route_and_only_at_its_path, drop("MePermission")),
    (only_the_api_can_invoke_a_route_and_only_at_its_path, put("MePermission/Properties/Principal", "*")),
    (
        only_the_api_can_invoke_a_route_and_only_at_its_path,
        put("MePermission/Properties/SourceArn", {"Fn::Sub": "arn:aws:execute-api:*"}),
    ),
    (only_the_api_can_invoke_a_route_and_only_at_its_path, put("RevokePermission/Properties/Action", "lambda:*")),
    (
        only_the_api_can_invoke_a_route_and_only_at_its_path,
        widen("RevokePermission", "/*/revoke", "/*/*"),
    ),
    (only_the_api_can_invoke_a_route_and_only_at_its_path, widen("MePermission", "/*/me", "/*/me*")),
    (keys_are_looked_after_every_day, drop("RotateKeysFunction/Properties/Events/Daily")),
    (
        keys_are_looked_after_every_day,
        put("RotateKeysFunction/Properties/Events/Daily/Properties/Input", '{"rotate":"now"}'),
    ),
    (keys_are_looked_after_every_day, drop("RotateKeysFailingAlarm")),
    (
        the_documents_are_read_through_cloudfront_only,
        put("DocumentsBucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy", False),
    ),
    (
        the_documents_are_read_through_cloudfront_only,
        put("DocumentsBucketPolicy/Properties/PolicyDocument/Statement/0/Principal", "*"),
    ),
    (
        the_documents_are_read_through_cloudfront_only,
        drop("DocumentsBucketPolicy/Properties/PolicyDocument/Statement/0/Condition"),
    ),
    (the_documents_are_read_through_cloudfront_only, put("/Parameters/PublishDocuments/Default", "true")),
    (the_tables_are_kept_backed_up_and_encrypted, drop("Table/DeletionPolicy")),
    (the_tables_are_in_one_region, put("Table/Type", "AWS::DynamoDB::GlobalTable")),
    (the_tables_are_kept_backed_up_and_encrypted, put("KeysTable/UpdateReplacePolicy", "Delete")),
    (the_tables_are_kept_backed_up_and_encrypted, drop("Table/Properties/TimeToLiveSpecification")),
    (the_tables_are_kept_backed_up_and_encrypted, drop("KeysTable/Properties/PointInTimeRecoverySpecification")),
    (the_tables_are_kept_backed_up_and_encrypted, put("Table/Properties/SSESpecification/SSEEnabled", False)),
    (the_tables_are_kept_backed_up_and_encrypted, put("Table/Properties/GlobalSecondaryIndexes", [])),
    (the_tables_are_kept_backed_up_and_encrypted, drop("KeysTable/Condition")),
    *(
        (an_existing_table_takes_the_place_of_the_stacks_own, broken)
        for broken in (
            drop("Table/Condition"),
            put("KeysTable/Condition", "MakesTable"),
            put(statement("MeRole", 0) + "/Resource", {"Fn::GetAtt": ["Table", "Arn"]}),
            put(statement("MeRole", 0) + "/Resource/Fn::If/2/Fn::Sub", "arn:aws:dynamodb:*:*:table/${ExistingTableName}"),
            put(f"RevokeFunction/{VARIABLES}/TABLE_NAME", {"Ref": "Table"}),
            put("/Globals/Function/Environment/Variables/KEYS_TABLE_NAME/Fn::If/2", {"Ref": "ExistingTableName"}),
            put("/Outputs/TableName/Value", {"Ref": "Table"}),
            put("/Parameters/ExistingTableName/Default", "x"),
            drop("/Outputs/SetUpExistingTable"),
            put("/Outputs/SetUpExistingKeysTable/Condition", "UsesExistingTable"),
        )
    ),
    (every_log_has_an_end_and_one_writer, drop("MeLogs/Properties/RetentionInDays")),
    (every_log_has_an_end_and_one_writer, put("MeFunction/Properties/LoggingConfig/LogGroup", {"Ref": "ApiLogs"})),
    (every_log_has_an_end_and_one_writer, put("MeFunction/Properties/LoggingConfig/LogFormat", "JSON")),
    (
        every_log_has_an_end_and_one_writer,
        put(statement("MeRole", 3) + "/Resource", {"Fn::GetAtt": ["ApiLogs", "Arn"]}),
    ),
    (
        the_access_log_holds_nothing_that_a_caller_wrote,
        put(
            "Stage/Properties/AccessLogSettings/Format",
            '{"requestId":"$context.requestId","route":"$context.path","status":""}',
        ),
    ),
    (
        the_access_log_holds_nothing_that_a_caller_wrote,
        put("Stage/Properties/AccessLogSettings/Format", "$context.requestId"),
    ),
    (requests_are_limited_and_more_so_where_they_cost, put("Stage/Properties/RouteSettings", {})),
    (requests_are_limited_and_more_so_where_they_cost, put("/Parameters/TokenRateLimit/Default", 2500)),
    # As it was: 20 requests a second of anyone stop all sign-ins.
    (requests_are_limited_and_more_so_where_they_cost, put("/Parameters/TokenRateLimit/Default", 20)),
    (requests_are_limited_and_more_so_where_they_cost, put("/Parameters/ApiRateLimit/Default", 10000)),
    (requests_are_limited_and_more_so_where_they_cost, put("/Parameters/ClientRateLimit/Default", 0)),
    (requests_are_limited_and_more_so_where_they_cost, put("/Parameters/UserRateLimit/MinValue", 1)),
    (requests_are_limited_and_more_so_where_they_cost, drop(f"TokenExchangeFunction/{VARIABLES}/CLIENT_RATE_LIMIT")),
    (requests_are_limited_and_more_so_where_they_cost, put("Stage/DependsOn", ["TokenRoute"])),
    (the_release_binaries_are_measured_with_the_values_of_the_template, put("/Parameters/UserRateLimit/Default", 0)),
    (the_release_binaries_are_measured_with_the_values_of_the_template, put("/Parameters/AuthorizerLive/Default", "true")),
    (the_release_binaries_are_measured_with_the_values_of_the_template, put("/Parameters/PublishDocuments/Default", "true")),
    (
        requests_are_limited_and_more_so_where_they_cost,
        put("RevokeFunction/Properties/ReservedConcurrentExecutions", 0),
    ),
    (
        requests_are_limited_and_more_so_where_they_cost,
        put("AuthorizerFunction/Properties/ReservedConcurrentExecutions/Fn::If/0", "HasTokenReservation"),
    ),
    (requests_are_limited_and_more_so_where_they_cost, put("/Parameters/AuthorizerReservedConcurrency/Default", 10)),
    *(
        (instances_are_kept_started_at_the_alias_and_on_request_only, broken)
        for broken in (
            put("/Parameters/TokenProvisionedConcurrency/Default", 1),
            drop("/Parameters/AuthorizerProvisionedConcurrency/MinValue"),
            drop("AuthorizerFunction/Properties/ProvisionedConcurrencyConfig"),
            put("MeFunction/Properties/ProvisionedConcurrencyConfig", {"ProvisionedConcurrentExecutions": 1}),
            put(f"TokenExchangeFunction/{PROVISION}/0", "HasAuthorizerProvision"),
            put(f"TokenExchangeFunction/{PROVISION}/1", {"ProvisionedConcurrentExecutions": 3}),
            put("/Conditions/HasTokenProvision/Fn::Not/0/Fn::Equals/1", 2),
            put("TokenExchangeFunction/Properties/AutoPublishAlias", "next"),
            put("Settings/Properties/Revision", {"Ref": "TokenProvisionedConcurrency"}),
            put("TokenExchangeFunction/Properties/Description", {"Fn::Sub": "${TokenProvisionedConcurrency}"}),
        )
    ),
    (parameters_that_do_not_go_together_are_refused_with_what_to_give, drop("/Rules/TokenProvisionedHasExecutions")),
    (parameters_that_do_not_go_together_are_refused_with_what_to_give, drop("/Rules/AuthorizerProvisionedHasExecutions")),
    (requests_are_limited_and_more_so_where_they_cost, drop_key("Stage/Properties/RouteSettings", "ANY /revoke")),
    (requests_are_limited_and_more_so_where_they_cost, drop_key("Stage/Properties/RouteSettings", "ANY /introspect")),
    (
        requests_are_limited_and_more_so_where_they_cost,
        drop_key("Stage/Properties/RouteSettings", "POST /me/identities"),
    ),
    (a_domain_of_ones_own_reaches_the_api_and_the_documents, drop("HttpApi/Properties/DisableExecuteApiEndpoint")),
    (a_domain_of_ones_own_reaches_the_api_and_the_documents, put("HttpApi/Properties/DisableExecuteApiEndpoint", True)),
    (a_domain_of_ones_own_reaches_the_api_and_the_documents, put("ApiRecord/Properties/Name", {"Ref": "IssuerUrl"})),
    (a_domain_of_ones_own_reaches_the_api_and_the_documents, put("DocumentsRecord/Condition", "HasApiRecord")),
    (a_domain_of_ones_own_reaches_the_api_and_the_documents, drop("ApiDomainMapping/Condition")),
    (
        a_domain_of_ones_own_reaches_the_api_and_the_documents,
        put("/Outputs/ApiUrl/Value", {"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}),
    ),
    # As it was: CloudFront's documents name the endpoints of API Gateway, whatever the domain.
    (
        a_domain_of_ones_own_reaches_the_api_and_the_documents,
        put(
            f"DiscoveryFunction/{VARIABLES}/API_URL",
            {"Fn::If": ["PublishesDocuments", {"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}, ""]},
        ),
    ),
    # As it was: a certificate without the issuer's URL fails in Fn::Select.
    (every_combination_of_domains_is_made_or_refused, drop("/Conditions/HasDocumentsCertificate/Fn::And/1")),
    (every_combination_of_domains_is_made_or_refused, drop("/Rules/OneIssuer")),
    (every_combination_of_domains_is_made_or_refused, put("/Rules/OneIssuer/RuleCondition", True)),
    (every_parameter_and_condition_is_used, put("/Parameters/Spare", {"Type": "String"})),
    (every_parameter_is_in_the_table_of_settings, put("/Parameters/Spare", {"Type": "String"})),
    (every_parameter_and_condition_is_used, put("/Conditions/Spare", {"Fn::Equals": ["", ""]})),
    (
        the_client_is_composed_as_json,
        put(f"TokenExchangeFunction/{VARIABLES}/CLIENTS/Fn::If/2", {"Fn::Sub": "[{${ClientId}}]"}),
    ),
    (a_bad_parameter_is_refused_before_anything_is_made, put("/Parameters/ClientSecretSha256/AllowedPattern", "^.*$")),
    (a_bad_parameter_is_refused_before_anything_is_made, drop("/Parameters/IssuerUrl/AllowedPattern")),
    # As SAM would do it: the API's definition holds the functions' ARNs, and their environment the API's URL.
    (no_resource_waits_for_itself, put("HttpApi/Properties/Body", {"uri": {"Fn::GetAtt": ["MeFunction", "Arn"]}})),
    (no_resource_waits_for_itself, put("Table/DependsOn", ["MeFunction"])),
    (no_resource_waits_for_itself, put("/Globals/Function/Environment/Variables/X", {"Ref": "RotateKeysFailingAlarm"})),
    (no_resource_waits_for_itself, put("TokenExchangeCanaryAlarm/DependsOn", "TokenExchangeIntegration")),
    (no_resource_waits_for_itself, put(f"MeFunction/{VARIABLES}/X", {"Ref": "MeCanaryAlarm"})),
    *(
        (the_settings_are_checked_before_a_function_is_made_or_changed, broken)
        for broken in (
            put("Settings/Properties/ServiceToken/Fn::GetAtt/0", "MeFunction"),
            drop("Settings/Properties/ServiceTimeout"),
            put("Settings/Properties/Version", "0.0.1"),
            put("Settings/Properties/After", ""),
            put("RotateKeysFunction/Properties/Description", {"Fn::Sub": "${Settings.Fingerprint}"}),
        )
    ),
    *(
        (all_settings_are_checked_and_no_secret_is_among_them, broken)
        for broken in (
            drop("Settings/Properties/Settings/LIVE"),
            drop("Settings/Properties/SecretArns"),
            put("Settings/Properties/Settings/ACCESS_TOKEN_TTL", 900),
            put("Settings/Properties/Settings/GITHUB_CLIENT_SECRET/Fn::If/1", {"Ref": "GitHubClientSecret"}),
            put("Settings/Properties/Settings/OAUTH_PROVIDERS", {"Ref": "OAuthProviders"}),
            put(f"MeFunction/{VARIABLES}/SPARE", "x"),
        )
    ),
    *(
        (requests_reach_the_alias_of_each_function_when_they_may, broken)
        for broken in (
            put("MeIntegration/Properties/IntegrationUri", {"Ref": "MeFunction"}),
            put("MePermission/Properties/FunctionName", {"Ref": "MeFunction"}),
            drop("MeIntegration/DependsOn"),
            put("MeIntegration/DependsOn", "RevokePermission"),
            put("DiscoveryIntegration/DependsOn", ["OpenApiPermission"]),
            put("/Outputs/AuthorizerArn/Value", {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}),
        )
    ),
    *(
        (a_changed_setting_publishes_a_version_of_each_function, broken)
        for broken in (
            drop("MeFunction/Properties/VersionDescription"),
            put("MeFunction/Properties/Description", {"Fn::Sub": "/me"}),
            drop("AuthorizerFunction/Properties/AutoPublishAlias"),
            put("RotateKeysFunction/Properties/AutoPublishAlias", "live"),
            drop("Settings/Properties/Revision"),
            put("MeFunction/Properties/DeploymentPreference/Enabled", False),
        )
    ),
    *(
        (a_new_version_gets_a_part_of_the_requests_first, broken)
        for broken in (
            put("/Globals/Function/DeploymentPreference/Enabled", True),
            put("/Globals/Function/DeploymentPreference/Type", "AllAtOnce"),
            put("/Globals/Function/DeploymentPreference/Alarms", [{"Ref": "TableThrottledAlarm"}]),
            put("/Parameters/Canary/Default", "false"),
        )
    ),
    *(
        (a_table_is_made_warm_on_request_only, broken)
        for broken in (
            drop("Table/Properties/WarmThroughput"),
            put("Table/Properties/WarmThroughput/Fn::If/1/ReadUnitsPerSecond", {"Ref": "TableWarmWriteUnits"}),
            put("Table/Properties/WarmThroughput/Fn::If/2", {"ReadUnitsPerSecond": 12_000, "WriteUnitsPerSecond": 4_000}),
            drop("/Conditions/HasWarmThroughput/Fn::Or/1"),
            put("KeysTable/Properties/WarmThroughput", {"ReadUnitsPerSecond": 12_000, "WriteUnitsPerSecond": 4_000}),
            put("/Parameters/TableWarmReadUnits/MinValue", 1),
        )
    ),
    (trouble_is_noticed, drop("ApiFailingAlarm")),
    (trouble_is_noticed, drop("ApiLimitedAlarm")),
    (trouble_is_noticed, drop("ApiRefusingAlarm")),
    (trouble_is_noticed, put("ApiRefusingAlarm/Properties/Metrics/1/ReturnData", True)),
    (trouble_is_noticed, put("LimitedMetric/Properties/FilterPattern", "{ $.status = 429 }")),
    (trouble_is_noticed, put("TableThrottledAlarm/Properties/Metrics/0/Expression", "reads + write")),
    (
        trouble_is_noticed,
        put("TableThrottledAlarm/Properties/Metrics/2/MetricStat/Metric/Dimensions/0/Value", {"Ref": "Table"}),
    ),
    (trouble_is_noticed, put("ReuseDetectedMetric/Properties/FilterPattern", '{ $.event = "session.reused" }')),
    (trouble_is_noticed, put("ApiFailingAlarm/Properties/AlarmActions", [])),
    (trouble_is_noticed, put("RotateKeysOverdueAlarm/Properties/TreatMissingData", "notBreaching")),
    (trouble_is_noticed, put("RotateKeysOverdueAlarm/Properties/EvaluationPeriods", 8)),
    (trouble_is_noticed, put("ApiFailingAlarm/Properties/TreatMissingData", "breaching")),
    (
        trouble_is_noticed,
        put("ProviderFailedMetric/Properties/FilterPattern", '{ $.event = "request" && $.outcome = "provider_failed" }'),
    ),
    (the_pages_have_each_alarm_and_their_number, drop("ApiSlowAlarm")),
    (the_pages_have_each_alarm_and_their_number, drop("TableThrottledAlarm/Properties/Metrics/1")),
    (the_dashboard_shows_metrics_that_exist, drop("ApiSlowAlarm")),
    (the_dashboard_shows_metrics_that_exist, drop("ReuseDetectedMetric")),
    (the_dashboard_shows_metrics_that_exist, drop("MetricsDashboard/Condition")),
    (metrics_of_requests_are_bounded_and_made_on_request_only, drop("MeRequestMetric/Condition")),
    (metrics_of_requests_are_bounded_and_made_on_request_only, drop("MeRequestMetric")),
    (metrics_of_requests_are_bounded_and_made_on_request_only, put("/Parameters/RequestMetrics/Default", "true")),
    (
        metrics_of_requests_are_bounded_and_made_on_request_only,
        put("MeRequestMetric/Properties/MetricTransformations/0/Dimensions/0/Value", "$.request_id"),
    ),
    (
        metrics_of_requests_are_bounded_and_made_on_request_only,
        put("TokenExchangeProviderMetric/Properties/MetricTransformations/0/MetricValue", "$.provider_us"),
    ),
]


@pytest.mark.parametrize("holds, breaks", BREAKS, ids=[f"{i}-{c.__name__}" for i, (c, _) in enumerate(BREAKS)])
def test_the_check_fails_when_the_template_is_broken(holds, breaks):
    template = copy.deepcopy(load())
    breaks(template)
    with pytest.raises((AssertionError, LookupError, ValueError)):  # a CycleError is a ValueError
        holds(template)


def test_every_check_is_seen_failing():
    assert {holds for holds, _ in BREAKS} == set(CHECKS)
