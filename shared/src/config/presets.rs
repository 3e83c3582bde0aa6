//! The requests of known providers that name the application of a token, as entries of `OAUTH_PROVIDERS`.
//!
//! Each is from the provider's own documentation, which the comment names.

/// The requests of a provider by its name, which is the id of the provider in next-auth.
const PRESETS: [(&str, &str); 2] = [
    // https://api.intra.42.fr/apidoc/guides/web_application_flow, "Check your token". The server is Doorkeeper:
    // https://github.com/doorkeeper-gem/doorkeeper/wiki/API-endpoint-descriptions-and-examples
    (
        "42-school",
        r#"{"api_url":"https://api.intra.42.fr",
            "check":{"url":"/oauth/token/info","client_id":"/application/uid","subject":"/resource_owner_id"},
            "userinfo":{"url":"/v2/me","id":"/id","username":"/login","name":"/displayname","email":"/email",
                        "picture":"/image/link"}}"#,
    ),
    // https://docs.gitlab.com/api/oauth2/#retrieve-the-token-information and https://docs.gitlab.com/api/users/
    (
        "gitlab",
        r#"{"api_url":"https://gitlab.com",
            "check":{"url":"/oauth/token/info","client_id":"/application/uid","subject":"/resource_owner_id"},
            "userinfo":{"url":"/api/v4/user","id":"/id","username":"/username","name":"/name","email":"/email",
                        "picture":"/avatar_url"}}"#,
    ),
];

/// Returns the requests of a known provider, as JSON.
pub(super) fn find(kind: &str) -> Option<&'static str> {
    let preset = PRESETS.iter().find(|(name, _)| *name == kind);
    preset.map(|(_, preset)| *preset)
}
