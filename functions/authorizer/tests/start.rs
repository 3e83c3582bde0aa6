//! T84: a function with a wrong setting does not start, and names the setting in one line.

use tests::start::assert_refuses_bad_settings;

#[test]
fn t84_a_missing_or_wrong_setting_stops_it_with_one_line() {
    assert_refuses_bad_settings(
        env!("CARGO_BIN_EXE_authorizer"),
        &[
            ("ISSUER_URL", "https://api.example.com"),
            ("TOKEN_AUDIENCE", "https://api.example.com"),
            ("KEYS_TABLE_NAME", "cambio-keys"),
        ],
        &[
            ("ISSUER_URL", "http://api.example.com"),
            ("ROUTE_SCOPES", r#"{"GET /orders":"two\nlines"}"#),
            ("ROUTE_SCOPES", r#"{"get /orders":"orders:read"}"#),
            (
                "AUDIENCES",
                "https://api.example.com, https://orders.example.com",
            ),
            ("LIVE", "yes"),
            ("LOG_LEVEL", "loud"),
        ],
    );
}
