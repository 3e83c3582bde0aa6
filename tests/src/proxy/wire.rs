//! The proxy's connections: each is served as HTTP, until a fault takes it over.

use std::{
    fmt,
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    http::request,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{
    Fault, Passage, Reply, lock,
    visit::{Visit, readable},
};

pub(super) async fn accept(passage: Arc<Passage>, listener: TcpListener) {
    // Dropped with this task, which closes all connections.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, caller)) = listener.accept().await {
            connections.spawn(serve(passage.clone(), stream, caller));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// The loss of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection is closed (FIN).
    Closed,
    /// The connection is reset (RST).
    Reset,
    /// The connection looks open, but nothing more is read from it or written to it.
    Silent,
}

impl Loss {
    async fn befall(self, stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Closed => Ok(()),
            Self::Reset => stream.set_zero_linger(),
            Self::Silent => pending().await,
        }
    }
}

/// The end of a connection that a fault takes over: the bytes to write, and the way to close it.
pub(super) struct LastWords {
    chunks: Vec<Bytes>,
    /// The time between two chunks.
    pace: Duration,
    ending: Ending,
}

pub(super) enum Ending {
    Close,
    Reset,
    /// Open until the caller closes it; a further request is never answered.
    Linger,
}

impl From<Ending> for LastWords {
    fn from(ending: Ending) -> Self {
        Self {
            chunks: Vec::new(),
            pace: Duration::ZERO,
            ending,
        }
    }
}

/// Serves one connection as HTTP until its end or until a fault takes it over.
async fn serve(passage: Arc<Passage>, stream: TcpStream, caller: SocketAddr) {
    let last_words = Arc::new(Mutex::new(None));
    let mut losses = passage.losses.subscribe();
    let service = service_fn(|request| {
        let (passage, last_words) = (passage.clone(), last_words.clone());
        let answer = async move {
            answer(&passage, request, caller).await.map_err(|words| {
                *lock(&last_words) = Some(words);
                TakenOver
            })
        };
        Box::pin(answer) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let lost = tokio::select! {
        // The result does not matter, only whether a fault takes the connection over.
        _ = poll_fn(|context| connection.poll_without_shutdown(context)) => None,
        Ok(()) = losses.changed() => *losses.borrow(),
    };
    let stream = connection.into_parts().io.into_inner();
    let words = lock(&last_words).take();
    // An error means that the caller is gone, and then the fault has no effect.
    let _ = match (lost, words) {
        (Some(loss), _) => loss.befall(stream).await,
        (None, Some(words)) => words.write_to(stream).await,
        (None, None) => Ok(()),
    };
}

impl LastWords {
    async fn write_to(self, mut stream: TcpStream) -> io::Result<()> {
        // Each chunk is sent when it is written, and not together with the next one.
        stream.set_nodelay(true)?;
        for chunk in self.chunks {
            stream.write_all(&chunk).await?;
            sleep(self.pace).await;
        }
        match self.ending {
            Ending::Close => stream.shutdown().await,
            Ending::Reset => stream.set_zero_linger(),
            Ending::Linger => stream.readable().await,
        }
    }
}

/// Makes hyper return the connection.
#[derive(Debug)]
struct TakenOver;

impl fmt::Display for TakenOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a fault took the connection over")
    }
}

impl std::error::Error for TakenOver {}

/// The result for the caller: an answer, or the end of the connection.
async fn answer(
    passage: &Arc<Passage>,
    request: Request<Incoming>,
    caller: SocketAddr,
) -> Result<Response<Full<Bytes>>, LastWords> {
    let (head, body) = request.into_parts();
    let (visit, fault) = passage.register(&head, caller);
    if let Some(Fault::Refuse) = fault {
        return Err(Ending::Close.into());
    }
    // A caller that disconnects in the middle of its request has sent no call.
    let body = body.collect().await.map_err(|_| Ending::Close)?.to_bytes();
    visit.note(|call| call.body = readable(&body));

    let answer = match fault {
        None => visit.forward(head, body, Duration::ZERO).await,
        Some(fault) => fault.befall(visit, head, body).await,
    }?;
    Ok(answer.into())
}

impl Fault {
    /// Injects a fault into a call that has been read.
    async fn befall(
        self,
        visit: Visit,
        head: request::Parts,
        body: Bytes,
    ) -> Result<Reply, LastWords> {
        // First the faults that do not reach the service.
        let delay = match self {
            Self::Refuse | Self::ResetBeforeForwarding => return Err(Ending::Reset.into()),
            Self::Hang => {
                drop(visit);
                return std::future::pending().await;
            }
            Self::Answer(answer) => {
                visit.note(|call| call.status = Some(answer.status));
                return Ok(answer);
            }
            Self::Stale if visit.may_be_stale(&body) => {
                visit.note(|call| call.status = Some(StatusCode::OK));
                return Ok(Reply::new(StatusCode::OK, "{}"));
            }
            Self::Delay(delay) => delay,
            _ => Duration::ZERO,
        };
        let body = match self {
            Self::ChangedCall(change) => changed(body, change),
            _ => body,
        };
        let mut answer = visit.forward(head, body, delay).await?;
        let (length, half) = (answer.body.len(), answer.body.len() / 2);
        match self {
            Self::ResetAfterForwarding => Err(Ending::Reset.into()),
            Self::CloseAfterForwarding => Err(Ending::Close.into()),
            Self::HangAfterForwarding => std::future::pending().await,
            Self::ChangedAnswer(change) => {
                change(&mut answer);
                Ok(answer)
            }
            Self::TruncatedBody => {
                answer.body.truncate(half);
                // Without the checksum, which would reveal the fault before the JSON parser does.
                answer.headers.remove("x-amz-crc32");
                Ok(answer)
            }
            Self::ResetMidBody => Err(LastWords {
                chunks: vec![answer.head(length), answer.body.slice(..half)],
                // Otherwise the reset can overtake the bytes before it.
                pace: Duration::from_millis(10),
                ending: Ending::Reset,
            }),
            Self::LengthTooLong => Err(LastWords {
                chunks: vec![answer.head(length + 10), answer.body],
                pace: Duration::ZERO,
                ending: Ending::Close,
            }),
            Self::LengthTooShort => Err(LastWords {
                chunks: vec![answer.head(half), answer.body],
                pace: Duration::ZERO,
                ending: Ending::Linger,
            }),
            Self::SlowBody(pace) => {
                // The test is about the pace, not about a race for the connection afterwards.
                let close = HeaderValue::from_static("close");
                answer.headers.insert(header::CONNECTION, close);
                let bytes = answer.body.chunks(1).map(Bytes::copy_from_slice);
                Err(LastWords {
                    chunks: std::iter::once(answer.head(length)).chain(bytes).collect(),
                    pace,
                    ending: Ending::Close,
                })
            }
            Self::Delay(_)
            | Self::Refuse
            | Self::ResetBeforeForwarding
            | Self::Hang
            | Self::Answer(_)
            | Self::ChangedCall(_)
            | Self::Stale => Ok(answer),
        }
    }
}

/// Returns the JSON of `body` after `change`; another body as it is.
fn changed(body: Bytes, change: fn(&mut Value)) -> Bytes {
    match serde_json::from_slice(&body) {
        Ok(mut call) => {
            change(&mut call);
            call.to_string().into()
        }
        Err(_) => body,
    }
}

impl Reply {
    /// Returns the bytes of the head, with a length that may be false.
    fn head(&self, content_length: usize) -> Bytes {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            if name != header::CONTENT_LENGTH {
                head.extend_from_slice(name.as_ref());
                head.extend_from_slice(b": ");
                head.extend_from_slice(value.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
        }
        head.extend_from_slice(format!("content-length: {content_length}\r\n\r\n").as_bytes());
        head.into()
    }
}

impl From<Reply> for Response<Full<Bytes>> {
    fn from(answer: Reply) -> Self {
        let mut response = Self::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}
