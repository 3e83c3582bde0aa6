//! T84: a function with a wrong setting does not start, and names the setting in one line.

use tests::start::assert_refuses_bad_settings;

#[test]
fn t84_a_missing_or_wrong_setting_stops_it_with_one_line() {
    assert_refuses_bad_settings(
        env!("CARGO_BIN_EXE_token-exchange"),
        &[
            ("ISSUER_URL", "https://api.example.com"),
            ("TOKEN_AUDIENCE", "https://api.example.com"),
            ("TABLE_NAME", "cambio"),
            ("KEYS_TABLE_NAME", "cambio-keys"),
            ("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef"),
            ("GITHUB_CLIENT_SECRET", "CANARY"),
            (
                "CLIENTS",
                r#"[{"client_id":"nextjs","secret_sha256":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]"#,
            ),
        ],
        &[
            ("ISSUER_URL", "http://api.example.com"),
            ("ISSUER_URL", "https://user:CANARY@api.example.com"),
            ("ISSUER_URL", "https://api.example.com/"),
            ("LOG_LEVEL", "loud"),
            ("ACCESS_TOKEN_TTL", "15 minutes"),
            ("CLIENT_RATE_LIMIT", "off"),
            ("USER_RATE_LIMIT", "-1"),
            ("CLIENTS", r#"[{"client_id":"nextjs","secret":"CANARY"}]"#),
            (
                "CLIENTS",
                r#"[{"client_id":"a","secret_sha256":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],"vouches":{"keys":[{"kty":"oct","kid":"a","k":"CANARY"}]}}]"#,
            ),
            ("PROVIDERS", "elsewhere"),
            ("PROVIDERS", "table"),
            ("GITHUB_API_URL", "http://169.254.169.254"),
            ("GITHUB_CLIENT_ID", "../admin"),
            ("GITHUB_CLIENT_SECRET", "arn:aws:iam::1:role/CANARY"),
        ],
    );
}
