//! T84: a function with a wrong setting does not start, and names the setting in one line.

use tests::start::assert_refuses_bad_settings;

#[test]
fn t84_a_missing_or_wrong_setting_stops_it_with_one_line() {
    assert_refuses_bad_settings(
        env!("CARGO_BIN_EXE_me"),
        &[
            ("ISSUER_URL", "https://api.example.com"),
            ("TOKEN_AUDIENCE", "https://api.example.com"),
            ("TABLE_NAME", "cambio"),
            ("KEYS_TABLE_NAME", "cambio-keys"),
        ],
        &[
            ("ISSUER_URL", "http://api.example.com"),
            ("ISSUER_URL", "https://user:CANARY@api.example.com"),
            ("ISSUER_URL", "https://api.example.com/"),
            ("LOG_LEVEL", "loud"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb.example.com"),
        ],
    );
}
