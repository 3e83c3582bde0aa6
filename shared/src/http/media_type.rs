//! What a body says that it is.

use http::{HeaderMap, header};

/// Whether the body is of the type `expected`: exactly that, in UTF-8 if it says so.
pub(super) fn is_media_type(headers: &HeaderMap, expected: &str) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let parameters = parameters.trim().replace('"', "");
    essence.trim().eq_ignore_ascii_case(expected)
        && (parameters.is_empty() || parameters.eq_ignore_ascii_case("charset=utf-8"))
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
        for other in [
            "application/json",
            "text/plain",
            "multipart/form-data",
            "application/x-www-form-urlencoded; charset=utf-16",
            "application/x-www-form-urlencoded, application/json",
            "application/x-www-form-urlencoded-evil",
            "",
        ] {
            assert!(!is_form(other), "{other}");
        }
        assert!(!is_media_type(&HeaderMap::new(), FORM));
    }
}
