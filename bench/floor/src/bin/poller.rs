//! A function on the standard library alone that answers a constant: the cost of a process that polls for events.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

const ANSWER: &str = r#"{"statusCode":200,"headers":{},"body":"{}"}"#;

#[expect(
    clippy::disallowed_methods,
    reason = "this process has nothing of `shared`"
)]
fn main() -> io::Result<()> {
    let api = env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    let mut connection = BufReader::new(TcpStream::connect(&api)?);
    loop {
        let next =
            format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {api}\r\n\r\n");
        let id = exchange(&mut connection, &next)?;
        let answer = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {api}\r\ncontent-length: {}\r\n\r\n{ANSWER}",
            ANSWER.len()
        );
        exchange(&mut connection, &answer)?;
    }
}

/// Sends a request, reads the answer to its end, and returns the id of the event that it brings, if any.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> io::Result<String> {
    connection.get_mut().write_all(request.as_bytes())?;
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line == "\r\n" {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "lambda-runtime-aws-request-id" => value.clone_into(&mut id),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(id)
}
