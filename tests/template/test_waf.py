"""templates/waf.yaml limits each address, passes everything else on unchanged, and keeps no answer."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_template import ROOT, drop, load, put, run  # noqa: E402

TEMPLATE = ROOT / "templates/waf.yaml"

# AWS's managed policies.
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"


def rule_of(template):
    (rule,) = template["Resources"]["WebAcl"]["Properties"]["Rules"]
    return rule


def each_address_is_limited_but_those_of_the_servers(template):
    acl, rule = template["Resources"]["WebAcl"]["Properties"], rule_of(template)
    assert (acl["Scope"], acl["DefaultAction"]) == ("CLOUDFRONT", {"Allow": {}})
    statement = rule["Statement"]["RateBasedStatement"]
    assert (statement["AggregateKeyType"], statement["EvaluationWindowSec"]) == ("IP", 60)
    assert statement["Limit"] == {"Ref": "RequestsPerMinute"}
    assert template["Parameters"]["RequestsPerMinute"]["MinValue"] == 10  # WAF's smallest
    condition, scope, otherwise = statement["ScopeDownStatement"]["Fn::If"]
    assert (condition, otherwise) == ("HasTrustedAddresses", {"Ref": "AWS::NoValue"})
    trusted = scope["NotStatement"]["Statement"]["IPSetReferenceStatement"]["Arn"]
    assert trusted == {"Fn::GetAtt": ["TrustedAddressSet", "Arn"]}
    addresses = template["Resources"]["TrustedAddressSet"]
    assert addresses["Condition"] == condition
    assert (addresses["Properties"]["Scope"], addresses["Properties"]["Addresses"]) == ("CLOUDFRONT", {"Ref": "TrustedAddresses"})
    distribution = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    assert distribution["WebACLId"] == {"Fn::GetAtt": ["WebAcl", "Arn"]}


def a_blocked_client_is_told_to_wait(template):
    response = rule_of(template)["Action"]["Block"]["CustomResponse"]
    headers = {h["Name"]: h["Value"] for h in response["ResponseHeaders"]}
    assert (response["ResponseCode"], headers) == (429, {"Retry-After": "60", "Cache-Control": "no-store"})
    body = template["Resources"]["WebAcl"]["Properties"]["CustomResponseBodies"][response["CustomResponseBodyKey"]]
    answer = json.loads(body["Content"])
    # The same code as that of a client over its own limit.
    assert body["ContentType"] == "APPLICATION_JSON" and set(answer) == {"error", "error_description"}
    assert f'"{answer["error"]}"' in (ROOT / "shared/src/http/error.rs").read_text()


def an_answer_is_kept_nowhere_and_a_request_passes_unchanged(template):
    distribution = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    assert "CacheBehaviors" not in distribution and "CustomErrorResponses" not in distribution
    behavior = distribution["DefaultCacheBehavior"]
    assert behavior["CachePolicyId"] == CACHING_DISABLED
    assert behavior["OriginRequestPolicyId"] == ALL_VIEWER_EXCEPT_HOST_HEADER
    assert set(behavior["AllowedMethods"]) == {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
    assert behavior["ViewerProtocolPolicy"] == "https-only"
    (origin,) = distribution["Origins"]
    assert origin["DomainName"] == {"Ref": "ApiHost"}
    assert origin["CustomOriginConfig"] == {"OriginProtocolPolicy": "https-only", "OriginSSLProtocols": ["TLSv1.2"]}
    pattern = template["Parameters"]["ApiHost"]["AllowedPattern"]
    assert re.fullmatch(pattern, "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com")
    for other in ("example.com", "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com.example.com", "https://a1b2c3d4e5"):
        assert not re.fullmatch(pattern, other), other


def no_token_is_kept_in_a_sample_or_a_log(template):
    distribution = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    assert "Logging" not in distribution
    for watched in (template["Resources"]["WebAcl"]["Properties"], rule_of(template)):
        assert watched["VisibilityConfig"]["SampledRequestsEnabled"] is False
    assert not any(r["Type"] == "AWS::WAFv2::LoggingConfiguration" for r in template["Resources"].values())


def a_flood_raises_an_alarm(template):
    alarm = template["Resources"]["BlockedAlarm"]["Properties"]
    acl = template["Resources"]["WebAcl"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/WAFV2", "BlockedRequests")
    # AWS names the dimension by the name of the ACL or of its metric, so both are the same.
    assert acl["Name"] == acl["VisibilityConfig"]["MetricName"] == {"Ref": "AWS::StackName"}
    assert alarm["Dimensions"] == [{"Name": "WebACL", "Value": acl["Name"]}, {"Name": "Rule", "Value": "ALL"}]
    assert alarm["AlarmActions"] == [{"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}]


def every_parameter_and_condition_is_used(template):
    text = json.dumps([template["Resources"], template["Outputs"], template["Conditions"], template["Rules"]])
    for name in template["Parameters"]:
        assert f'{{"Ref": "{name}"}}' in text, name
    for name in template["Conditions"]:
        assert f'["{name}"' in text or f'"Condition": "{name}"' in text, name


CHECKS = [
    each_address_is_limited_but_those_of_the_servers,
    a_blocked_client_is_told_to_wait,
    an_answer_is_kept_nowhere_and_a_request_passes_unchanged,
    no_token_is_kept_in_a_sample_or_a_log,
    a_flood_raises_an_alarm,
    every_parameter_and_condition_is_used,
]


@pytest.mark.parametrize("holds", CHECKS, ids=lambda c: c.__name__)
def test(holds):
    holds(load(TEMPLATE))


DISTRIBUTION = "Distribution/Properties/DistributionConfig"
RULE = "WebAcl/Properties/Rules/0"
BREAKS = [
    (each_address_is_limited_but_those_of_the_servers, f"{DISTRIBUTION}/WebACLId", None),
    (each_address_is_limited_but_those_of_the_servers, f"{RULE}/Statement/RateBasedStatement/AggregateKeyType", "CONSTANT"),
    (each_address_is_limited_but_those_of_the_servers, f"{RULE}/Statement/RateBasedStatement/ScopeDownStatement", None),
    (a_blocked_client_is_told_to_wait, f"{RULE}/Action/Block", {}),
    (a_blocked_client_is_told_to_wait, f"{RULE}/Action/Block/CustomResponse/ResponseCode", 403),
    (
        an_answer_is_kept_nowhere_and_a_request_passes_unchanged,
        f"{DISTRIBUTION}/DefaultCacheBehavior/CachePolicyId",
        "658327ea-f89d-4fab-a63d-7e88639e58f6",
    ),
    (an_answer_is_kept_nowhere_and_a_request_passes_unchanged, f"{DISTRIBUTION}/DefaultCacheBehavior/OriginRequestPolicyId", None),
    (no_token_is_kept_in_a_sample_or_a_log, f"{RULE}/VisibilityConfig/SampledRequestsEnabled", True),
    (a_flood_raises_an_alarm, "BlockedAlarm/Properties/AlarmActions", []),
    (a_flood_raises_an_alarm, "WebAcl/Properties/Name", None),
    (every_parameter_and_condition_is_used, f"{RULE}/Statement/RateBasedStatement/Limit", 100),
]


@pytest.mark.parametrize("holds, path, value", BREAKS, ids=[f"{i}-{b[0].__name__}" for i, b in enumerate(BREAKS)])
def test_the_check_fails_when_the_template_is_broken(holds, path, value):
    template = load(TEMPLATE)
    change = drop(path) if value is None else put(path, value)
    change(template)
    with pytest.raises((AssertionError, LookupError)):
        holds(template)


def test_every_check_is_seen_failing():
    assert {holds for holds, _, _ in BREAKS} == set(CHECKS)


@pytest.mark.parametrize(
    "linter",
    [("cfn-lint", "--regions", "us-east-1", "--", "{}"), ("sam", "validate", "--lint", "--region", "us-east-1", "--template-file", "{}")],
    ids=lambda c: c[0],
)
def test_the_linter_has_no_complaint(linter):
    result = run(*linter, template=TEMPLATE)
    assert result.returncode == 0, result.stdout + result.stderr
