//! The readable line of a request.

use shared::clock::rfc3339;

use super::Answered;

/// Returns the line of a request: time, method, route, status, duration, user, calls, and the reason of an error.
pub(super) fn of(answered: &Answered, is_coloured: bool) -> String {
    let time = rfc3339(answered.at);
    let time = time.get(11..19).unwrap_or_default();
    let milliseconds = answered.duration_us / 1000;
    let tenths = answered.duration_us % 1000 / 100;
    let mut line = format!(
        "{time}  {:<6} {:<28} {}  {milliseconds:>4}.{tenths} ms",
        answered.method,
        answered.route,
        status(answered.status, is_coloured),
    );
    if let Some(user) = &answered.user {
        line.push_str(&format!("  user {user}"));
    }
    if !answered.calls.is_empty() {
        let calls = answered.calls.iter().map(|call| call.operation);
        line.push_str(&format!("  {}", calls.collect::<Vec<_>>().join(", ")));
    }
    if answered.lost {
        line.push_str("  (the answer is lost on purpose)");
    }
    if let Some(refused) = &answered.refused {
        line.push_str(&format!(
            "\n          {}: {}",
            refused.code, refused.message
        ));
        if let Some(cause) = refused
            .cause
            .as_ref()
            .filter(|cause| **cause != refused.message)
        {
            line.push_str(&format!(" ({cause})"));
        }
    }
    line
}

/// Returns the status in green, yellow or red.
fn status(status: u64, is_coloured: bool) -> String {
    let colour = match status {
        0..400 => 32,
        400..500 => 33,
        _ => 31,
    };
    if is_coloured {
        format!("\u{1b}[{colour}m{status}\u{1b}[0m")
    } else {
        status.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::{Call, Refused};

    fn answered(status: u64) -> Answered {
        let call = |operation| Call {
            operation,
            started_us: 0,
            duration_us: 1,
            ids: Vec::new(),
        };
        Answered {
            number: 1,
            at: 1_795_824_305,
            function: "token-exchange".to_owned(),
            method: "POST".to_owned(),
            route: "/token".to_owned(),
            status,
            duration_us: 41_260,
            calls: vec![call("GetItem"), call("TransactWriteItems")],
            user: Some("01a2".to_owned()),
            refused: None,
            lost: false,
        }
    }

    #[test]
    fn a_request_is_one_line() {
        let line = of(&answered(200), false);
        assert_eq!(
            line,
            "00:05:05  POST   /token                       200    41.2 ms  user 01a2  GetItem, TransactWriteItems"
        );
        assert!(of(&answered(503), true).contains("\u{1b}[31m503\u{1b}[0m"));
    }

    #[test]
    fn a_lost_answer_is_named() {
        let lost = Answered {
            lost: true,
            ..answered(200)
        };
        let line = of(&lost, false);
        assert!(
            line.ends_with("TransactWriteItems  (the answer is lost on purpose)"),
            "{line}"
        );
    }

    #[test]
    fn a_refusal_has_its_reason_below() {
        let mut refused = answered(401);
        refused.refused = Some(Refused {
            code: "invalid_token".to_owned(),
            message: "the access token is not valid".to_owned(),
            cause: Some("it has expired".to_owned()),
        });
        let line = of(&refused, false);
        assert!(
            line.ends_with(
                "\n          invalid_token: the access token is not valid (it has expired)"
            ),
            "{line}"
        );

        refused.refused = refused.refused.map(|refused| Refused {
            cause: Some(refused.message.clone()),
            ..refused
        });
        assert!(
            !of(&refused, false).contains('('),
            "a cause that repeats the message"
        );
    }
}
