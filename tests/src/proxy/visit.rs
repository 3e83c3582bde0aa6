//! A call on its way to the service and back.

use std::{sync::Arc, time::Duration};

use hyper::{HeaderMap, Method, body::Bytes, header, http::request};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    Call, Passage, Reply,
    locks::Course,
    units::{Units, consumed, metered, metering},
    wire::{Ending, LastWords},
};
use crate::timers::hold;

/// A call that may still take effect at the service; dropping it marks the call as settled.
pub(super) struct Visit {
    pub(super) passage: Arc<Passage>,
    pub(super) id: u64,
    pub(super) operation: Option<String>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.note(|call| call.settled_at = Some(Instant::now()));
    }
}

impl Visit {
    /// Returns whether DynamoDB may answer the call from a stale replica.
    pub(super) fn may_be_stale(&self, body: &Bytes) -> bool {
        let body = readable(body);
        match self.operation.as_deref() {
            Some("GetItem" | "Query") => body["ConsistentRead"] != true,
            Some("BatchGetItem") => {
                let mut tables = body["RequestItems"].as_object().into_iter().flatten();
                tables.any(|(_, read)| read["ConsistentRead"] != true)
            }
            _ => false,
        }
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Call)) {
        self.passage.calls.send_modify(|calls| {
            // Absent if the test has cleared the calls meanwhile.
            if let Some(call) = calls.iter_mut().find(|call| call.id == self.id) {
                change(call);
            }
        });
    }

    /// Forwards the call in its own task, so that it arrives even if the caller disconnects.
    pub(super) async fn forward(
        self,
        head: request::Parts,
        body: Bytes,
        delay: Duration,
    ) -> Result<Reply, LastWords> {
        let task = tokio::spawn(async move {
            sleep(delay).await;
            let operation = self.operation.as_deref();
            let _held = match self.passage.course(self.id, operation, &readable(&body)) {
                Course::Free => None,
                Course::Holds(time, held) => {
                    sleep(time).await;
                    Some(held)
                }
                Course::Refused(answer) => {
                    self.note(|call| {
                        call.status = Some(answer.status);
                        call.is_conflict = true;
                    });
                    return Ok(answer);
                }
            };
            self.ask(head, body).await
        });
        // Without an answer of the service, the caller gets none either.
        let answer = task.await.ok().and_then(Result::ok);
        answer.ok_or_else(|| Ending::Reset.into())
    }

    async fn ask(&self, head: request::Parts, body: Bytes) -> reqwest::Result<Reply> {
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let url = format!("{}{target}", self.passage.upstream);
        let mut headers = head.headers;
        remove_transport(&mut headers);
        headers.remove(header::HOST);
        headers.remove(header::CONTENT_LENGTH);
        let writes = metered(self.operation.as_deref());
        let body = if writes.is_some() {
            metering(body)
        } else {
            body
        };

        if let Some(signer) = &self.passage.signer {
            signer.sign(&head.method, &url, &mut headers, &body);
        }

        let client = &self.passage.client;
        let mut request = client.request(head.method.clone(), url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        // The service behind the proxy has the time that it needs.
        let _held = hold();
        let response = request.send().await?;

        let status = response.status();
        let mut headers = response.headers().clone();
        let body = response.bytes().await?;
        remove_transport(&mut headers);
        if head.method != Method::HEAD {
            headers.remove(header::CONTENT_LENGTH);
        }
        self.note(|call| {
            call.status = Some(status);
            call.is_forwarded = true;
            call.consumed = writes.map_or_else(Units::default, |writes| consumed(&body, writes));
        });
        Ok(Reply {
            status,
            headers,
            body,
        })
    }
}

/// Returns whether the header belongs to one connection only (RFC 9110 §7.6.1).
fn remove_transport(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

pub(super) fn readable(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
