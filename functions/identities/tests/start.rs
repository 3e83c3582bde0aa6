//! T84: a function with a wrong setting does not start, and names the setting in one line.

use tests::start::assert_refuses_bad_settings;

#[test]
fn t84_a_missing_or_wrong_setting_stops_it_with_one_line() {
    assert_refuses_bad_settings(
        env!("CARGO_BIN_EXE_identities"),
        &[
            ("ISSUER_URL", "https://api.example.com"),
            ("TOKEN_AUDIENCE", "https://api.example.com"),
            ("TABLE_NAME", "cambio"),
            ("KEYS_TABLE_NAME", "cambio-keys"),
            (
                "CLIENTS",
                r#"[{"client_id":"nextjs","secret_sha256":["0000000000000000000000000000000000000000000000000000000000000001"]}]"#,
            ),
            ("GITHUB_CLIENT_ID", "our-app"),
            ("GITHUB_CLIENT_SECRET", "hunter2"),
        ],
        &[
            ("ISSUER_URL", "http://api.example.com"),
            ("LOG_LEVEL", "loud"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb.example.com"),
            ("CLIENTS", r#"[{"client_id":"nextjs","secret":"CANARY"}]"#),
            (
                "CLIENTS",
                r#"[{"client_id":"a","secret_sha256":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],"vouches":{"keys":[{"kty":"oct","kid":"a","k":"CANARY"}]}}]"#,
            ),
            ("OIDC_PROVIDERS", "[{}]"),
            ("OAUTH_PROVIDERS", r#"[{"name":"spotify"}]"#),
            (
                "OAUTH_PROVIDERS",
                r#"[{"name":"acme","client_id":"1","client_secret":"CANARY","check":{"url":"https://a.example"},"userinfo":{"id":"/id"}}]"#,
            ),
            (
                "OAUTH_PROVIDERS",
                r#"[{"name":"facebook","client_id":"1","client_secret":"arn:aws:iam::1:role/CANARY"}]"#,
            ),
            ("ALLOWED_SIGNUPS", "some"),
            ("PROVIDERS", "elsewhere"),
            ("PROVIDERS", "table"),
        ],
    );
}
