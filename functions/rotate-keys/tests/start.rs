//! T84: a function with a wrong setting does not start, and names the setting in one line.

use tests::start::assert_refuses_bad_settings;

#[test]
fn t84_a_missing_or_wrong_setting_stops_it_with_one_line() {
    assert_refuses_bad_settings(
        env!("CARGO_BIN_EXE_rotate-keys"),
        &[("KEYS_TABLE_NAME", "cambio-keys")],
        &[
            ("SIGNING_KEY_TYPE", "HS256"),
            ("SIGNING_KEY_TTL", "90"),
            ("LOG_LEVEL", "loud"),
        ],
    );
}
