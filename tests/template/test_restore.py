"""docs/restore.md, walked to where AWS takes over, as test_deploy.py walks docs/deploy.md.

tests/e2e/restore.rs rehearses what the steps do to users and sessions.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from test_deploy import (  # noqa: E402, F401 (fixtures)
    FIRST,
    MAKE_KEYS,
    REFERENCE,
    ROOT,
    SAM_REFUSED,
    Walk,
    aws,
    blocks,
    built_and,
    deploys,
    env,
    prints,
    runs,
    shown,
    tree,
)
from test_template import load, refusals, resolve  # noqa: E402

PAGE = (ROOT / "docs/restore.md").read_text()
ACCOUNT = "123456789012"
DELETED = f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/cambio-Table-1A2B3C4D5E6F/backup/01700000000000-0a1b2c3d"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role/AWSBackupDefaultServiceRole"
WAIT = "aws dynamodb wait table-exists --table-name"
RECOVERY = (
    "  --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true \\\n"
    "  --query ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus"
)


def the_operator(*wanted):
    """A check that `cambio-admin` was called like this, and for the restored table."""

    def check(walk):
        log = Path(walk.env["TEST_ADMIN_LOG"])
        lines = log.read_text().splitlines()
        log.unlink()
        assert lines == [f"TABLE_NAME=cambio-restored {command}" for command in wanted]

    return check


def makes_a_stack(**wanted):
    """A check that the change set has these parameters, and that they are enough for a new stack."""

    def check(walk):
        deploys(**wanted)(walk)
        assert refusals(load(), walk.aws.parameters()) == []

    return check


# Each code block of the page, in its order.
WALK = [
    runs(
        "aws dynamodb list-backups --backup-type SYSTEM \\\n"
        "  --query 'BackupSummaries[].[TableName,BackupArn]' --output text"
    ),
    shown(f"cambio-Table-1A2B3C4D5E6F\t{DELETED}"),
    runs(
        "aws dynamodb restore-table-from-backup --target-table-name cambio-restored \\\n"
        f"  --backup-arn {DELETED} \\\n"
        f"  --query TableDescription.TableStatus\n{WAIT} cambio-restored"
    ),
    runs(
        "sam build && sam deploy --parameter-overrides TokenProvisionedConcurrency=0 Canary=false",
        built_and("arm64", deploys(TokenProvisionedConcurrency="0", Canary="false")),
        SAM_REFUSED,
    ),
    runs(
        "TABLE=$(aws cloudformation describe-stacks --stack-name cambio \\\n"
        "  --query \"Stacks[0].Outputs[?OutputKey=='TableName'].OutputValue\" --output text)\n"
        "sam build && sam deploy --parameter-overrides TokenReservedConcurrency=0 Canary=false",
        built_and("arm64", deploys(TokenReservedConcurrency="0", Canary="false")),
        SAM_REFUSED,
    ),
    runs(
        'aws dynamodb describe-continuous-backups --table-name "$TABLE" \\\n'
        "  --query ContinuousBackupsDescription.PointInTimeRecoveryDescription"
    ),
    shown(
        '{\n    "PointInTimeRecoveryStatus": "ENABLED",\n    "RecoveryPeriodInDays": 35,\n'
        '    "EarliestRestorableDateTime": "2026-10-24T03:55:06+00:00",\n'
        '    "LatestRestorableDateTime": "2026-11-28T03:50:06+00:00"\n}'
    ),
    runs(
        'aws dynamodb restore-table-to-point-in-time --source-table-name "$TABLE" --target-table-name cambio-restored \\\n'
        "  --restore-date-time 2026-11-28T03:00:00Z --query TableDescription.TableStatus\n"
        f"{WAIT} cambio-restored"
    ),
    runs(
        "TABLE_NAME=cambio-restored cargo run -p admin -- users list --limit 20",
        the_operator("users list --limit 20"),
    ),
    runs(
        "sam deploy --parameter-overrides ExistingTableName=cambio-restored TokenReservedConcurrency=-1 Canary=false",
        deploys(ExistingTableName="cambio-restored", TokenReservedConcurrency="-1", Canary="false"),
        SAM_REFUSED,
    ),
    runs(
        "aws dynamodb update-time-to-live --table-name cambio-restored \\\n"
        "  --time-to-live-specification Enabled=true,AttributeName=expires_at\n"
        "aws dynamodb update-continuous-backups --table-name cambio-restored \\\n"
        f"{RECOVERY}\n"
        "aws dynamodb update-table --table-name cambio-restored --deletion-protection-enabled \\\n"
        "  --query TableDescription.DeletionProtectionEnabled"
    ),
    shown(
        '{\n    "TimeToLiveSpecification": {\n        "Enabled": true,\n        "AttributeName": "expires_at"\n    }\n}\n'
        '"ENABLED"\ntrue'
    ),
    runs(
        "export TABLE_NAME=cambio-restored\ncargo run -p admin -- users sign-out --all",
        the_operator("users sign-out --all"),
    ),
    shown("users signed out by the order of 2026-11-28T04:10:00Z: 1204"),
    # A query of CloudWatch Logs Insights, which tests/e2e/operate.rs runs.
    shown('fields @timestamp, event, user_id, provider | filter event in ["user.deleted", "identity.unlinked"]'),
    runs(
        "aws dynamodb create-table --table-name cambio-keys-2 --billing-mode PAY_PER_REQUEST \\\n"
        "  --attribute-definitions AttributeName=pk,AttributeType=S --key-schema AttributeName=pk,KeyType=HASH \\\n"
        "  --sse-specification Enabled=true,SSEType=KMS --deletion-protection-enabled \\\n"
        "  --query TableDescription.TableStatus\n"
        f"{WAIT} cambio-keys-2\n"
        "aws dynamodb update-continuous-backups --table-name cambio-keys-2 \\\n"
        f"{RECOVERY}"
    ),
    runs(
        "sam build && sam deploy --parameter-overrides ExistingKeysTableName=cambio-keys-2 Canary=false",
        built_and("arm64", deploys(ExistingKeysTableName="cambio-keys-2", Canary="false")),
        SAM_REFUSED,
    ),
    runs(MAKE_KEYS),
    shown('{"changed":true,"keys":[{"kid":"…","state":"current",…},{"kid":"…","state":"next",…}]}'),
    runs(
        "aws backup update-region-settings --resource-type-opt-in-preference DynamoDB=true \\\n"
        "  --resource-type-management-preference DynamoDB=true\n"
        "aws backup create-backup-vault --backup-vault-name cambio\n"
        "aws backup create-backup-vault --backup-vault-name cambio --region eu-west-1"
    ),
    runs(
        'aws backup create-backup-plan --backup-plan \'{"BackupPlanName": "cambio", "Rules": [{"RuleName": "hourly",\n'
        '  "TargetBackupVaultName": "cambio", "ScheduleExpression": "cron(0 * * * ? *)", "Lifecycle": {"DeleteAfterDays": 7},\n'
        f'  "CopyActions": [{{"DestinationBackupVaultArn": "arn:aws:backup:eu-west-1:{ACCOUNT}:backup-vault:cambio",\n'
        '    "Lifecycle": {"DeleteAfterDays": 7}}]}]}\' --query BackupPlanId --output text'
    ),
    runs(
        'aws backup create-backup-selection --backup-plan-id … --backup-selection \'{"SelectionName": "cambio",\n'
        f'  "IamRoleArn": "{ROLE}",\n'
        f'  "Resources": ["arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/cambio-Table-1A2B3C4D5E6F"]}}\' --query SelectionId --output text'
    ),
    runs(
        "aws backup list-recovery-points-by-backup-vault --backup-vault-name cambio --region eu-west-1 \\\n"
        "  --query 'sort_by(RecoveryPoints, &CreationDate)[-1].RecoveryPointArn' --output text\n"
        "aws backup start-restore-job --region eu-west-1 --recovery-point-arn … \\\n"
        "  --metadata targetTableName=cambio-restored,encryptionType=Default \\\n"
        f"  --iam-role-arn {ROLE} \\\n"
        "  --query RestoreJobId --output text\n"
        f"{WAIT} cambio-restored --region eu-west-1"
    ),
    runs(
        "sam build && sam deploy --region eu-west-1 --parameter-overrides ExistingTableName=cambio-restored \\\n"
        '  GitHubClientId=Ov23li0123456789abcd ClientSecretSha256="$HASH" \\\n'
        f"  GitHubClientSecret='{REFERENCE}' \\\n"
        "  ApiDomain=auth.example.com \\\n"
        f"  ApiCertificateArn=arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/0a1b2c3d",
        built_and(
            "arm64",
            makes_a_stack(
                ExistingTableName="cambio-restored",
                GitHubClientId=FIRST["GitHubClientId"],
                GitHubClientSecret=REFERENCE,
                ClientSecretSha256="[0-9a-f]{64}",
                ApiDomain="auth.example.com",
                ApiCertificateArn=f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/0a1b2c3d",
            ),
        ),
        SAM_REFUSED,
    ),
]


def test_every_block_of_the_page_is_walked():
    assert blocks(PAGE) == [block for block, _, _ in WALK]


def test_the_walk_reaches_aws_as_the_page_says(aws, tree, env):  # noqa: F811
    walk = Walk(aws, tree, env)
    # The first deployment left this in the shell.
    walk.run("HASH=$(printf 0 | sha256sum | cut -d' ' -f1)", None)

    for block, check, fails in WALK:
        if check is None:
            continue
        walk.run(block, fails)
        check(walk)

    assert not list(tree.glob("*.jsonl")) and not (tree / "active.txt").exists()


def test_no_deployment_is_refused_of_a_stack_that_keeps_instances_started():
    section = PAGE.split("\n## Go back to an earlier time\n")[1].split("\n## ")[0]
    given = re.findall(r"--parameter-overrides (.+)", section)
    deployments = [dict(pair.split("=") for pair in pairs.split()) for pairs in given]
    stack = {**FIRST, "ClientSecretSha256": "0" * 64, "TokenProvisionedConcurrency": "2"}
    assert refusals(load(), stack) == [] and deployments[-1]["TokenReservedConcurrency"] == "-1"

    for given in deployments:
        before, stack = stack, stack | given
        assert refusals(load(), stack) == [], given
        # CloudFormation changes the function, and its reserved executions, before the alias with the started instances.
        # Lambda refuses fewer of the former than of the latter.
        reserved = int(stack.get("TokenReservedConcurrency", -1))
        assert reserved == -1 or reserved >= int(before["TokenProvisionedConcurrency"]), given


def test_the_output_of_the_stack_is_the_step_of_the_page():
    given = {**FIRST, "ClientSecretSha256": "0" * 64, "ExistingTableName": "cambio-restored"}
    (step,) = [block for block in blocks(PAGE) if block.startswith("aws dynamodb update-time-to-live")]
    output = resolve(load(), given)["Outputs"]["SetUpExistingTable"]["Value"].replace(" --region <AWS::Region>", "")

    assert output.split("; ") == re.sub(r" --query \S+", "", re.sub(r" \\\n +", " ", step)).split("\n")


def test_the_tables_of_the_page_have_the_keys_and_the_settings_of_the_template():
    (block,) = [block for block in blocks(PAGE) if "create-table" in block]
    table = load()["Resources"]["KeysTable"]["Properties"]
    attributes = ",".join(f"{k}={v}" for k, v in table["AttributeDefinitions"][0].items())
    keys = ",".join(f"{k}={v}" for k, v in table["KeySchema"][0].items())

    assert f"--attribute-definitions {attributes} --key-schema {keys} " in block
    assert len(table["KeySchema"]) == len(table["AttributeDefinitions"]) == 1
    assert f"--billing-mode {table['BillingMode']}" in block


def test_a_page_that_says_something_else_is_noticed():
    assert blocks(PAGE.replace("ExistingTableName=", "TableName=")) != blocks(PAGE)


def test_an_argument_that_the_aws_cli_refuses_is_noticed(aws, tree, env):  # noqa: F811
    walk = Walk(aws, tree, env)
    plan = next(block for block, _, _ in WALK if "create-backup-plan" in block)
    walk.run(plan.replace('"RuleName"', '"Name"'), "RuleName")
    walk.run("aws dynamodb wait table-exists --table cambio-restored", "no option --table")
