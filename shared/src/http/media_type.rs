//! The `Content-Type` of a body.

use http::{HeaderMap, header};

/// Returns whether the `Content-Type` is `expected`, with no charset or UTF-8.
pub(super) fn is_media_type(headers: &HeaderMap, expected: &str) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    let essence = parts.next().unwrap_or_default();
    // Parameters may be empty (RFC 9110 §5.6.6).
    let mut parameters = parts.filter(|part| !part.is_empty());
    essence.eq_ignore_ascii_case(expected)
        && parameters.next().is_none_or(is_utf_8)
        && parameters.next().is_none()
}

/// Returns whether a parameter is `charset=utf-8`, as a token or quoted.
fn is_utf_8(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    name.eq_ignore_ascii_case("charset") && quoted.unwrap_or(value).eq_ignore_ascii_case("utf-8")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn is_form(content_type: &'static str) -> bool {
        let content_type = HeaderValue::from_static(content_type);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        is_media_type(&headers, FORM)
    }

    #[test]
    fn t73_only_the_expected_type_is_read() {
        assert!(is_form("application/x-www-form-urlencoded"));
        assert!(is_form("Application/X-WWW-Form-Urlencoded; charset=UTF-8"));
        assert!(is_form(
            "application/x-www-form-urlencoded;charset=\"utf-8\""
        ));
        for with_nothing in [
            "application/x-www-form-urlencoded;",
            "application/x-www-form-urlencoded ; ; charset=utf-8",
            "application/x-www-form-urlencoded; charset=utf-8;",
            "application/x-www-form-urlencoded;\tcharset=\"UTF-8\" ;;",
        ] {
            assert!(is_form(with_nothing), "{with_nothing}");
        }
        for other in [
            "application/json",
            "text/plain",
            "multipart/form-data",
            "application/x-www-form-urlencoded; charset=utf-16",
            "application/x-www-form-urlencoded; charset=utf-16; charset=utf-8",
            "application/x-www-form-urlencoded; charset=utf-8; charset=utf-16",
            "application/x-www-form-urlencoded; charset=\"utf-8",
            "application/x-www-form-urlencoded; charset = utf-8",
            "application/x-www-form-urlencoded; charset",
            "application/x-www-form-urlencoded; boundary=x",
            ";charset=utf-8",
            "application/x-www-form-urlencoded, application/json",
            "application/x-www-form-urlencoded-evil",
            "",
        ] {
            assert!(!is_form(other), "{other}");
        }
        assert!(!is_media_type(&HeaderMap::new(), FORM));
    }
}
