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
    let body = json!({
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "Message": "User is not authorized to perform dynamodb:GetItem",
    });
    let denied = Reply::new(StatusCode::BAD_REQUEST, body.to_string());
    let denied = denied.with_header("content-type", "application/x-amz-json-1.0");
    stack
        .service
        .dynamodb
        .fault(When::Nth(1), Fault::Answer(denied));

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
