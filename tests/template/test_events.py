"""docs/events.md: what leaves the table through the pipe of template.yaml, and how its patterns name the events.

No emulator has Pipes. The filter and the template are evaluated here by the rules that AWS documents, on records of
every item of the table with every attribute that the code writes.
"""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_deploy import SAM_REFUSED, Walk, aws, blocks, deploys, env, tree  # noqa: E402, F401 (fixtures)
from test_template import ROOT, load, refusals, resolve  # noqa: E402

PAGE = (ROOT / "docs/events.md").read_text()
TEMPLATE = load()
PIPE = TEMPLATE["Resources"]["EventsPipe"]["Properties"]
USER, SESSION = "01a2204b-ade7-7286-ae7e-67a1e9fae2bc", "lcc2eigZ8NKpYUqffg7eyw"
GIVEN = {"GitHubClientId": "a", "GitHubClientSecret": "b", "ClientSecretSha256": "0" * 64}
NAMES = ["user.created", "user.updated", "user.disabled", "user.deleted", "session.reuse_detected"]

# Every attribute of the items, with a value that is recognised if it leaves.
SECRETS = {name: {"B": f"secret {name}"} for name in ("family", "current", "previous", "nonce")}
PERSONAL = {
    "profile": {"M": {"email": {"S": "personal email"}, "name": {"S": "personal name"}, "picture": {"S": "personal"}}},
    "edited": {"M": {"name": {"S": "personal edit"}}},
    "metadata": {"S": "personal metadata"},
    "claims": {"S": "personal claims"},
    "roles": {"L": [{"S": "personal role"}]},
    "identities": {"M": {"github": {"M": {"key": {"S": "secret key"}, "subject": {"S": "personal subject"}}}}},
    "email_key": {"S": "secret email key"},
    "user_agent": {"S": "personal agent"},
    "client_id": {"S": "personal client"},
    "signed_out_by": {"S": "secret idempotency key"},
}


def record(change, sort_key, partition=f"USER#{USER}", **attributes):
    keys = {"pk": {"S": partition}, "sk": {"S": sort_key}}
    image = {**keys, **PERSONAL, **SECRETS, **{name: {"S": value} for name, value in attributes.items()}}
    stream = {
        "ApproximateCreationDateTime": 1764300000,
        "Keys": keys,
        "SequenceNumber": "100000000093582842803",
        "SizeBytes": 76,
        "StreamViewType": "NEW_IMAGE",
    }
    if change != "REMOVE":
        stream["NewImage"] = image
    return {"eventID": "a8f715d3", "eventName": change, "eventSource": "aws:dynamodb", "dynamodb": stream}


def matches(pattern, value):
    """EventBridge's patterns, as far as the template and the page use them."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(matches(inner, value.get(name)) for name, inner in pattern.items())
    for one in pattern:
        if isinstance(one, str):
            if one == value:
                return True
        else:
            assert list(one) == ["prefix"], one
            if isinstance(value, str) and value.startswith(one["prefix"]):
                return True
    return False


def found(path, value):
    """A JSON path in dots; EventBridge puts an empty text where there is nothing."""
    for name in path.removeprefix("$.").split("."):
        value = value.get(name, {}) if isinstance(value, dict) else {}
    return "" if value == {} else str(value)


def sent(stream_record, pipe=PIPE):
    """The event on the bus, or `None` if the filter drops the record."""
    filters = pipe["SourceParameters"]["FilterCriteria"]["Filters"]
    if not any(matches(json.loads(one["Pattern"]), stream_record) for one in filters):
        return None
    parameters = pipe["TargetParameters"]
    detail = re.sub(r"<([^>]+)>", lambda name: found(name[1], stream_record), parameters["InputTemplate"])
    bus = parameters["EventBridgeEventBusParameters"]
    return {
        "source": bus["Source"],
        "detail-type": found(bus["DetailType"], stream_record),
        "detail": json.loads(detail),
    }


def patterns():
    """The rules of the page, by the name of the event."""
    table = re.findall(r"^\| `([a-z_.]+)` \| `(\{.*?\})` \|", PAGE, re.MULTILINE)
    return {name: json.loads(pattern) for name, pattern in table}


def names(event):
    return [name for name, pattern in patterns().items() if matches(pattern, event)]


RECORDS = [
    ("user.created", record("INSERT", "USER", status="active")),
    ("user.updated", record("MODIFY", "USER", status="active")),
    ("user.disabled", record("MODIFY", "USER", status="disabled")),
    ("user.deleted", record("REMOVE", "USER")),
    ("session.reuse_detected", record("MODIFY", f"SESSION#{SESSION}", ended_by="reused")),
]
# Everything else that happens in the table.
OTHERS = [
    record("INSERT", f"SESSION#{SESSION}"),
    record("MODIFY", f"SESSION#{SESSION}"),
    *(record("MODIFY", f"SESSION#{SESSION}", ended_by=reason) for reason in ("revoked", "signed_out", "withdrawn", "over_limit")),
    record("REMOVE", f"SESSION#{SESSION}", ended_by="reused"),
    record("INSERT", "IDENTITY", "IDENTITY#github#a", user_id=USER),
    record("MODIFY", "IDENTITY", "IDENTITY#github#a", released_by=USER),
    record("INSERT", "EMAIL", "EMAIL#a", user_id=USER),
    record("INSERT", "ASSERTION", "ASSERTION#a"),
]


@pytest.mark.parametrize(("name", "stream_record"), RECORDS, ids=[name for name, _ in RECORDS])
def test_each_event_has_one_name_and_the_members_of_the_page(name, stream_record):
    event = sent(stream_record)

    assert names(event) == [name]
    (schema,) = [json.loads(block) for block in blocks(PAGE) if block.startswith("{")]
    assert set(event) <= set(schema)
    assert sorted(event["detail"]) == sorted(schema["detail"])
    assert event["detail"]["user"] == f"USER#{USER}"


def test_t184_nothing_secret_and_nothing_personal_leaves_the_table():
    for _, stream_record in RECORDS:
        text = json.dumps(sent(stream_record))
        assert "secret" not in text and "personal" not in text, text
    # The same check finds an image that is sent.
    careless = json.loads(json.dumps(PIPE))
    careless["TargetParameters"]["InputTemplate"] = '{"nonce": "<$.dynamodb.NewImage.nonce.B>"}'
    assert "secret" in json.dumps(sent(RECORDS[-1][1], careless))


def test_other_changes_are_no_events():
    assert [sent(other) for other in OTHERS] == [None] * len(OTHERS)
    # Each field of 32 bytes is among the secrets above.
    items = "\n".join((ROOT / f"shared/src/{name}.rs").read_text() for name in ("users", "sessions/store"))
    secret = set(re.findall(r"^    (?:pub(?:\(\w+\))? )?(\w+): (?:Option<)?\[u8; 32\]", items, re.MULTILINE))
    assert secret == {"family", "current", "previous", "nonce"} and secret <= set(SECRETS)


def test_the_page_names_the_events_of_the_table():
    assert list(patterns()) == NAMES


def test_the_reasons_are_those_of_the_code():
    ending = (ROOT / "shared/src/sessions/ending.rs").read_text()
    assert 'Self::Reused => "reused"' in ending
    assert "#ended_by = if_not_exists(#ended_by, :reason)" in ending


def test_the_commands_of_the_page_are_accepted(aws, tree, env):  # noqa: F811
    deploy, rule, deploy_log, tail, tail_some = [block for block in blocks(PAGE) if not block.startswith("{")]
    walk = Walk(aws, tree, env)

    walk.run(deploy, SAM_REFUSED)
    deploys(Events="true")(walk)
    walk.run(rule, None)

    (pattern,) = re.findall(r"--event-pattern '(.+)'", rule)
    assert json.loads(pattern) == patterns()["user.deleted"]
    walk.run(deploy_log, SAM_REFUSED)
    deploys(Events="true", EventsLog="true")(walk)
    # The stack of the pages is `cambio`.
    given = {**GIVEN, "Events": "true", "EventsLog": "true"}
    group = resolve(TEMPLATE, given)["Resources"]["EventsLogs"]["Properties"]["LogGroupName"]
    for command in (tail, tail_some):
        walk.run(command, None)
        assert group.replace("<AWS::StackName>", "cambio") in command.split()


def test_the_stream_is_off_unless_asked_for_and_has_no_old_images():
    assert TEMPLATE["Parameters"]["Events"]["Default"] == "false"
    stream = TEMPLATE["Resources"]["Table"]["Properties"]["StreamSpecification"]
    assert stream == {"Fn::If": ["HasEvents", {"StreamViewType": "NEW_IMAGE"}, {"Ref": "AWS::NoValue"}]}
    for name in ("EventBus", "EventsPipe", "EventsRole"):
        assert TEMPLATE["Resources"][name]["Condition"] == "HasEvents", name


def test_each_event_is_a_line_of_the_log_on_request_only():
    assert TEMPLATE["Parameters"]["EventsLog"]["Default"] == "false"
    logs = {"EventsLogs", "EventsLogRule", "EventsLogPolicy"}
    for given in ({}, {"Events": "true"}, {"EventsLog": "true"}):
        assert not logs & set(resolve(TEMPLATE, GIVEN | given)["Resources"]), given
    (refused,) = refusals(TEMPLATE, {**GIVEN, "EventsLog": "true"})
    assert "Set Events to true" in refused

    stack = resolve(TEMPLATE, {**GIVEN, "Events": "true", "EventsLog": "true", "LogRetentionDays": "90"})["Resources"]

    group, rule, policy = (stack[name]["Properties"] for name in ("EventsLogs", "EventsLogRule", "EventsLogPolicy"))
    assert group["RetentionInDays"] == "90"
    # Each event of the pipe, and nothing that another service sends to the bus.
    assert rule["EventBusName"] == "<EventBus>"
    for _, stream_record in RECORDS:
        assert matches(rule["EventPattern"], sent(stream_record))
        assert not matches(rule["EventPattern"], sent(stream_record) | {"source": "aws.s3"})
    (target,) = rule["Targets"]
    assert target["Arn"] == "arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:<EventsLogs>"
    assert "RoleArn" not in target
    # EventBridge alone may write, into this group alone, and for this rule alone.
    create, write = json.loads(policy["PolicyDocument"])["Statement"]
    for statement, action in ((create, "logs:CreateLogStream"), (write, "logs:PutLogEvents")):
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Allow", action, "<EventsLogs.Arn>")
        assert statement["Principal"] == {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]}
    assert write["Condition"] == {"ArnEquals": {"aws:SourceArn": "<EventsLogRule.Arn>"}}


def test_the_pipe_reads_one_stream_and_sends_to_one_bus():
    statements = TEMPLATE["Resources"]["EventsRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    read, send, decrypt = statements
    assert read["Resource"] == {"Fn::GetAtt": ["Table", "StreamArn"]} == PIPE["Source"]
    assert all(action.startswith("dynamodb:") and "Item" not in action for action in read["Action"])
    assert (send["Action"], send["Resource"]) == (["events:PutEvents"], {"Fn::GetAtt": ["EventBus", "Arn"]})
    assert PIPE["Target"] == send["Resource"]
    assert decrypt["Fn::If"][0] == "HasDataKmsKey"


def test_events_of_a_table_that_the_stack_did_not_make_are_refused():
    assert refusals(TEMPLATE, {**GIVEN, "Events": "true"}) == []
    (refused,) = refusals(TEMPLATE, {**GIVEN, "Events": "true", "ExistingTableName": "cambio-restored"})
    assert "Set Events to false" in refused
