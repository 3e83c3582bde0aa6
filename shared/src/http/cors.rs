//! Cross-origin reads (CORS): pages of any origin may read the public documents. All other answers are for servers,
//! which need no permission, and no page may read them.

use http::{HeaderMap, HeaderValue, header};

/// Lets pages of any origin read an answer.
pub(super) fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
}
