//! The custom resource of the stack: CloudFormation's events at `rotate-keys`, and the answers to them.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use rotate_keys::{HandleError, ResourceError, RotateKeys};
use serde_json::{Value, json};
use shared::config::Environment;
use tests::{
    Service,
    proxy::{Fault, Reply, When},
    serve, timers,
};
use tokio::task::JoinSet;

use crate::rotation::forget_all_keys;

/// The version of the code, which `template.yaml` names.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A stand-in for the bucket in which CloudFormation waits for answers.
#[derive(Clone, Default)]
struct Inbox {
    answers: Arc<Mutex<Vec<Value>>>,
    /// The statuses of the next attempts; 200 after them.
    statuses: Arc<Mutex<Vec<StatusCode>>>,
    attempts: Arc<Mutex<usize>>,
}

impl Inbox {
    async fn start(running: &mut JoinSet<()>) -> (Self, String) {
        let inbox = Self::default();
        let router = Router::new().fallback(receive).with_state(inbox.clone());
        let url = serve(running, router).await;
        // As CloudFormation's: the path and the signature have escapes, which must arrive unchanged.
        (inbox, format!("{url}/arn%3Aaws%3A1?Signature=a%2Fb%3D&x=1"))
    }

    fn fail_with(&self, statuses: &[StatusCode]) {
        *self.statuses.lock().unwrap() = statuses.to_vec();
    }

    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.answers.lock().unwrap())
    }
}

async fn receive(
    State(inbox): State<Inbox>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    *inbox.attempts.lock().unwrap() += 1;
    let mut statuses = inbox.statuses.lock().unwrap();
    if !statuses.is_empty() {
        return statuses.remove(0);
    }
    // S3 answers 403 if one of these is not as it was signed.
    let is_signed = method == Method::PUT
        && uri == "/arn%3Aaws%3A1?Signature=a%2Fb%3D&x=1"
        && !headers.contains_key("content-type");
    if !is_signed || body.len() > 4096 {
        return StatusCode::FORBIDDEN;
    }
    let answer = serde_json::from_slice(&body).unwrap();
    inbox.answers.lock().unwrap().push(answer);
    StatusCode::OK
}

/// A stack with its service, its function and the stand-in for CloudFormation.
struct Stack {
    service: Service,
    rotate_keys: RotateKeys,
    inbox: Inbox,
    url: String,
    _running: JoinSet<()>,
}

impl Stack {
    async fn start() -> Self {
        let service = Service::start().await;
        let mut running = JoinSet::new();
        let (inbox, url) = Inbox::start(&mut running).await;
        let env = Environment::of(service.variables.clone());
        let rotate_keys = RotateKeys::new(&env, service.time.clock()).unwrap();
        Self {
            service,
            rotate_keys,
            inbox,
            url,
            _running: running,
        }
    }

    fn event(&self, kind: &str, changed: &[(&str, &str)]) -> Value {
        let mut settings = json!({
            "ISSUER_URL": "https://auth.example.com",
            "TOKEN_AUDIENCE": "https://auth.example.com",
            "TABLE_NAME": "users",
            "KEYS_TABLE_NAME": "keys",
            "CLIENTS": self.service.variables["CLIENTS"],
            "GITHUB_CLIENT_ID": "app",
            "GITHUB_CLIENT_SECRET": "not passed",
            "ACCESS_TOKEN_TTL": "900",
        });
        for (name, value) in changed {
            settings[*name] = (*value).into();
        }
        json!({
            "RequestType": kind,
            "ResponseURL": self.url,
            "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/cambio/1",
            "RequestId": "request-1",
            "ResourceType": "Custom::CambioSettings",
            "LogicalResourceId": "Settings",
            "ResourceProperties": {
                "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:rotate-keys",
                "ServiceTimeout": "300",
                "Settings": settings,
                "Version": VERSION,
                "Revision": "1",
            },
        })
    }

    /// Sends an event, and returns the answer that CloudFormation got.
    async fn send(&self, event: Value) -> Value {
        let (ids, stored) = (
            [event["StackId"].clone(), event["RequestId"].clone()],
            event["PhysicalResourceId"].clone(),
        );
        self.rotate_keys.handle(event).await.unwrap();
        let mut answers = self.inbox.take();
        assert_eq!(answers.len(), 1, "{answers:?}");
        let answer = answers.remove(0);
        assert_eq!(
            [answer["StackId"].clone(), answer["RequestId"].clone()],
            ids
        );
        assert_eq!(answer["LogicalResourceId"], "Settings");
        // Another id would make CloudFormation delete the one before.
        let id = if stored.is_null() {
            "cambio-settings".into()
        } else {
            stored
        };
        assert_eq!(answer["PhysicalResourceId"], id);
        answer
    }

    async fn kids(&self) -> Vec<String> {
        let set = self.service.key_store().find_set().await.unwrap();
        let keys = set.unwrap_or_default().keys.into_iter();
        keys.map(|key| key.kid).collect()
    }
}

#[tokio::test]
async fn t167_a_new_stack_gets_its_first_keys_once() {
    let stack = Stack::start().await;
    forget_all_keys(&stack.service);

    let made = stack.send(stack.event("Create", &[])).await;

    assert_eq!(made["Status"], "SUCCESS");
    let kids = stack.kids().await;
    assert_eq!(kids.len(), 2);
    // Lambda repeats an event, and an existing stack gets the resource by an update.
    let again = stack.send(stack.event("Create", &[])).await;
    assert_eq!(again, made);
    assert_eq!(stack.kids().await, kids);
}

#[tokio::test]
async fn t166_a_wrong_setting_fails_the_stack_before_a_key_is_made() {
    let stack = Stack::start().await;
    forget_all_keys(&stack.service);
    let wrong = [("ACCESS_TOKEN_TTL", "5"), ("OIDC_PROVIDERS", "[{}]")];
    for kind in ["Create", "Update"] {
        let refused = stack.send(stack.event(kind, &wrong)).await;

        assert_eq!(refused["Status"], "FAILED");
        let reason = refused["Reason"].as_str().unwrap();
        for part in [
            "nothing was changed",
            "ACCESS_TOKEN_TTL is \"5\"; expected a number of seconds from 60 to 3600",
            "OIDC_PROVIDERS cannot be used: [0].name is missing",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(stack.kids().await, [""; 0]);
    }
}

#[tokio::test]
async fn t166_an_update_checks_the_settings_and_leaves_the_keys_alone() {
    let _turning = timers::follow_work();
    let stack = Stack::start().await;
    stack.service.dynamodb.down().await;
    let fingerprint = async |changed: &[(&str, &str)]| {
        let mut event = stack.event("Update", changed);
        event["PhysicalResourceId"] = "an-older-id".into();
        let answer = stack.send(event).await;
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        answer["Data"]["Fingerprint"].as_str().unwrap().to_owned()
    };

    let before = fingerprint(&[]).await;

    assert_eq!(fingerprint(&[]).await, before);
    // A version of a function is published for each change of a setting.
    assert_ne!(fingerprint(&[("ACCESS_TOKEN_TTL", "600")]).await, before);
    assert_ne!(fingerprint(&[("LIVE", "false")]).await, before);
    let mut event = stack.event("Update", &[]);
    event["ResourceProperties"]["Revision"] = "2".into();
    assert_ne!(stack.send(event).await["Data"]["Fingerprint"], *before);
    stack.service.dynamodb.heal();
}

#[tokio::test]
async fn t166_a_stack_goes_back_to_the_settings_of_another_version() {
    let stack = Stack::start().await;
    let mut event = stack.event("Update", &[("ACCESS_TOKEN_TTL", "5")]);
    event["ResourceProperties"]["Version"] = "0.0.1".into();
    assert_eq!(stack.send(event.clone()).await["Status"], "SUCCESS");
    // Only an update can be a way back.
    event["RequestType"] = "Create".into();
    assert_eq!(stack.send(event).await["Status"], "FAILED");
}

/// Writes the item of a group, by the settings in it.
fn write_item(stack: &Stack, group: &str, version: &str, settings: &Value) {
    let item = json!({ "pk": { "S": group }, "version": { "N": version }, "settings": settings });
    stack.service.put(local::dynamodb::KEYS_TABLE, &item);
}

#[tokio::test]
async fn t203_an_item_that_no_function_could_start_with_fails_the_stack() {
    let stack = Stack::start().await;
    forget_all_keys(&stack.service);
    let stored = [
        ("PROVIDERS", "table"),
        ("GITHUB_CLIENT_ID", ""),
        ("GITHUB_CLIENT_SECRET", ""),
    ];
    let good = json!({ "M": {
        "GITHUB_CLIENT_ID": { "S": "app" }, "GITHUB_CLIENT_SECRET": { "S": "CANARY" },
    } });
    let unknown =
        json!({ "M": { "OAUTH_PROVIDERS": { "S": r#"[{"name":"discord","secret":"CANARY"}]"# } } });
    let good_clients = json!({ "M": { "CLIENTS": { "S": stack.service.variables["CLIENTS"] } } });
    let unknown_clients =
        json!({ "M": { "CLIENTS": { "S": r#"[{"client_id":"a","secret":"CANARY"}]"# } } });
    let other_form = json!({ "N": "1" });
    for (group, changed, wrong, good) in [
        (
            "CLIENTS",
            &[("CLIENTS", "table")][..],
            &unknown_clients,
            &good_clients,
        ),
        ("PROVIDERS", &stored[..], &unknown, &good),
    ] {
        let command = group.to_ascii_lowercase();
        let refused = async |kind: &str, parts: &[&str]| {
            let answer = stack.send(stack.event(kind, changed)).await;
            assert_eq!(answer["Status"], "FAILED", "{group}");
            let reason = answer["Reason"].as_str().unwrap();
            for part in parts {
                assert!(reason.contains(part), "{part:?} is not in {reason:?}");
            }
            assert!(!reason.contains("CANARY"), "{reason}");
        };
        for kind in ["Create", "Update"] {
            let missing = format!(
                "the keys table has no item {group}; make it with `cambio-admin {command} import`"
            );
            refused(kind, &["nothing was changed", &missing, "docs/clients.md"]).await;
        }
        let invalid = format!("the item {group} of the keys table, version ");
        let correct = format!("correct it with `cambio-admin {command}`");
        write_item(&stack, group, "7", wrong);
        refused(
            "Update",
            &[
                &format!("{invalid}7, is not valid"),
                &correct,
                "secret is unknown",
            ],
        )
        .await;
        write_item(&stack, group, "8", &other_form);
        refused(
            "Create",
            &[&format!("{invalid}unknown, is not valid"), &correct],
        )
        .await;
        assert_eq!(stack.kids().await, [""; 0]);
        // CloudFormation goes back to the settings of another version.
        let mut event = stack.event("Update", changed);
        event["ResourceProperties"]["Version"] = "0.0.1".into();
        assert_eq!(stack.send(event).await["Status"], "SUCCESS");

        write_item(&stack, group, "9", good);
        let checked = stack.send(stack.event("Update", changed)).await;
        assert_eq!(checked["Status"], "SUCCESS", "{checked}");
    }
}

#[tokio::test]
async fn t203_an_item_that_cannot_be_read_is_read_again_and_then_fails_the_stack() {
    let _turning = timers::follow_work();
    let stack = Stack::start().await;
    let clients = json!({ "M": { "CLIENTS": { "S": stack.service.variables["CLIENTS"] } } });
    write_item(&stack, "CLIENTS", "1", &clients);
    let stored = [("CLIENTS", "table")];
    stack.service.dynamodb.clear();
    stack
        .service
        .dynamodb
        .fault(When::Nth(1), Fault::Answer(denied()));

    let checked = stack.send(stack.event("Update", &stored)).await;

    assert_eq!(checked["Status"], "SUCCESS", "{checked}");
    stack.service.dynamodb.fault(When::Always, Fault::Refuse);
    let refused = stack.send(stack.event("Update", &stored)).await;
    stack.service.dynamodb.heal();
    assert_eq!(refused["Status"], "FAILED");
    let reason = refused["Reason"].as_str().unwrap();
    assert!(
        reason.contains("the settings in the keys table cannot be read: "),
        "{reason}"
    );
}

#[tokio::test]
async fn t204_an_arn_that_the_functions_may_not_read_fails_the_stack() {
    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:cambio/facebook-AbCdEf";
    const OTHER: &str = "arn:aws:ssm:eu-west-1:111122223333:parameter/cambio/facebook";
    let stack = Stack::start().await;
    let facebook = |secret: &str| {
        json!([{ "name": "facebook", "client_id": "1", "client_secret": secret }]).to_string()
    };
    let of_the_item = json!({ "M": { "GITHUB_CLIENT_ID": { "S": "app" }, "GITHUB_CLIENT_SECRET": { "S": ARN } } });
    write_item(&stack, "PROVIDERS", "1", &of_the_item);
    let stored = [
        ("PROVIDERS", "table"),
        ("GITHUB_CLIENT_ID", ""),
        ("GITHUB_CLIENT_SECRET", ""),
    ];
    let plain = facebook(ARN);
    let with_key = facebook(&format!("{ARN}:client_secret"));
    for (changed, named) in [
        (&[("OAUTH_PROVIDERS", &*plain)][..], "OAUTH_PROVIDERS"),
        (&[("OAUTH_PROVIDERS", &*with_key)], "OAUTH_PROVIDERS"),
        (&stored, "the item PROVIDERS of the keys table, version 1,"),
    ] {
        for (listed, is_readable) in [
            (None, false),
            (Some(""), false),
            (Some(OTHER), false),
            (Some(&*format!("{ARN}x")), false),
            (Some(ARN), true),
            (Some(&*format!("{OTHER},{ARN}")), true),
        ] {
            let mut event = stack.event("Update", changed);
            if let Some(listed) = listed {
                event["ResourceProperties"]["SecretArns"] = listed.into();
            }

            let answer = stack.send(event).await;

            let wanted = if is_readable { "SUCCESS" } else { "FAILED" };
            assert_eq!(answer["Status"], wanted, "{listed:?}: {answer}");
            if !is_readable {
                let reason = answer["Reason"].as_str().unwrap();
                let why = format!("the parameter SecretArns does not list {ARN}");
                assert!(reason.contains(named) && reason.contains(&why), "{reason}");
            }
        }
    }
}

/// The answer of DynamoDB to a role that may not read.
fn denied() -> Reply {
    let body = json!({
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "Message": "User is not authorized to perform dynamodb:GetItem",
    });
    let denied = Reply::new(StatusCode::BAD_REQUEST, body.to_string());
    denied.with_header("content-type", "application/x-amz-json-1.0")
}

#[tokio::test]
async fn t167_keys_that_cannot_be_made_fail_the_stack_with_a_sentence() {
    let _turning = timers::follow_work();
    let stack = Stack::start().await;
    stack.service.dynamodb.fault(When::Always, Fault::Refuse);

    let refused = stack.send(stack.event("Create", &[])).await;

    stack.service.dynamodb.heal();
    assert_eq!(refused["Status"], "FAILED");
    let reason = refused["Reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the signing keys cannot be made: "),
        "{reason}"
    );
    assert!(reason.len() > 40, "{reason}");
}

#[tokio::test]
async fn t167_a_role_that_dynamodb_does_not_know_yet_is_waited_for() {
    let _turning = timers::follow_work();
    let stack = Stack::start().await;
    forget_all_keys(&stack.service);
    stack.service.dynamodb.clear();
    stack
        .service
        .dynamodb
        .fault(When::Nth(1), Fault::Answer(denied()));

    let made = stack.send(stack.event("Create", &[])).await;

    assert_eq!(made["Status"], "SUCCESS", "{made}");
    assert_eq!(stack.kids().await.len(), 2);
}

#[tokio::test]
async fn t167_the_deletion_of_a_stack_succeeds_and_keeps_the_keys() {
    let stack = Stack::start().await;
    let kids = stack.kids().await;
    for properties in [json!({}), json!(null), json!({ "Settings": "?" })] {
        let mut event = stack.event("Delete", &[]);
        event["ResourceProperties"] = properties;
        assert_eq!(stack.send(event).await["Status"], "SUCCESS");
    }
    let mut event = stack.event("Delete", &[]);
    event.as_object_mut().unwrap().remove("ResourceProperties");
    assert_eq!(stack.send(event).await["Status"], "SUCCESS");
    assert_eq!(stack.kids().await, kids);
}

#[tokio::test]
async fn properties_of_another_template_fail_the_stack_with_a_sentence() {
    let stack = Stack::start().await;
    for properties in [
        json!({}),
        json!({ "Settings": { "LIVE": ["CANARY"] }, "Version": "1" }),
    ] {
        for kind in ["Create", "Update"] {
            let mut event = stack.event(kind, &[]);
            event["ResourceProperties"] = properties.clone();
            let refused = stack.send(event).await;
            assert_eq!(refused["Status"], "FAILED");
            let reason = refused["Reason"].as_str().unwrap();
            assert!(reason.contains("not those of template.yaml"), "{reason}");
            assert!(!reason.contains("CANARY"), "{reason}");
        }
    }
}

#[tokio::test]
async fn t168_an_answer_that_is_not_taken_is_sent_again() {
    let _turning = timers::follow_work();
    let stack = Stack::start().await;
    stack.inbox.fail_with(&[StatusCode::SERVICE_UNAVAILABLE]);
    assert_eq!(
        stack.send(stack.event("Update", &[])).await["Status"],
        "SUCCESS"
    );
    assert_eq!(*stack.inbox.attempts.lock().unwrap(), 2);

    // The function fails, so that Lambda repeats the event, and an alarm notices.
    stack.inbox.fail_with(&[StatusCode::FORBIDDEN; 9]);
    let unsent = stack.rotate_keys.handle(stack.event("Update", &[])).await;

    let Err(HandleError::Resource(error)) = unsent else {
        panic!("{unsent:?}");
    };
    assert_eq!(
        error.to_string(),
        "the answer cannot be sent to CloudFormation: status 403"
    );
    assert_eq!(*stack.inbox.attempts.lock().unwrap(), 6);
}

#[tokio::test]
async fn t168_an_answer_has_the_size_that_cloudformation_reads() {
    let stack = Stack::start().await;
    let long = format!("https://a.example/{}", "\"\u{1f511}".repeat(2000));
    let wrong = [("ISSUER_URL", &*long), ("OIDC_PROVIDERS", &*long)];

    let refused = stack.send(stack.event("Create", &wrong)).await;

    assert_eq!(refused["Status"], "FAILED");
    let reason = refused["Reason"].as_str().unwrap();
    assert!(reason.len() <= 1500 && reason.ends_with('…'), "{reason}");
}

#[tokio::test]
async fn t169_an_answer_goes_to_cloudformation_alone() {
    let stack = Stack::start().await;
    forget_all_keys(&stack.service);
    let mut deployed = stack.service.variables.clone();
    deployed.remove("AWS_ENDPOINT_URL_DYNAMODB");
    let deployed = Environment::of(deployed);
    let deployed = RotateKeys::new(&deployed, stack.service.time.clock()).unwrap();
    let bucket = "cloudformation-custom-resource-response-euwest1";
    for url in [
        stack.url.clone(),
        format!("http://{bucket}.s3.eu-west-1.amazonaws.com/a"),
        format!("https://{bucket}.s3.eu-west-1.amazonaws.com:8443/a"),
        format!("https://user:CANARY@{bucket}.s3.eu-west-1.amazonaws.com/a"),
        format!("https://{bucket}.s3.eu-west-1.amazonaws.com.example.com/a"),
        format!("https://{bucket}.execute-api.eu-west-1.amazonaws.com/a"),
        format!("https://evil.example/{bucket}.s3.eu-west-1.amazonaws.com"),
        format!("https://my-{bucket}.s3.eu-west-1.amazonaws.com/a"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        "".to_owned(),
    ] {
        for kind in ["Create", "Update", "Delete"] {
            let mut event = stack.event(kind, &[]);
            event["ResponseURL"] = url.clone().into();
            let refused = deployed.handle(event).await;
            let Err(HandleError::Resource(error @ ResourceError::ForeignUrl)) = refused else {
                panic!("{url}: {refused:?}");
            };
            assert!(!error.to_string().contains("CANARY"));
        }
    }
    assert_eq!(stack.inbox.take(), [Value::Null; 0]);
    assert_eq!(stack.kids().await, [""; 0]);
    // A function on a developer's machine answers to this machine, and to no other one.
    let mut event = stack.event("Update", &[]);
    event["ResponseURL"] = "http://localhost.example.com/a".into();
    let refused = stack.rotate_keys.handle(event).await;
    assert!(matches!(
        refused,
        Err(HandleError::Resource(ResourceError::ForeignUrl))
    ));
}

#[tokio::test]
async fn an_order_is_carried_out_as_before() {
    let stack = Stack::start().await;
    for order in [json!(null), json!({}), json!({ "rotate": "when-due" })] {
        let report = stack.rotate_keys.handle(order).await.unwrap();
        let report = serde_json::to_value(report).unwrap();
        assert_eq!(report["changed"], false);
        assert_eq!(report["keys"][0]["state"], "current");
    }
    let odd = json!({ "Rotate": "now" });
    let refused = stack.rotate_keys.handle(odd).await;
    assert!(matches!(refused, Err(HandleError::Event(_))), "{refused:?}");
}
