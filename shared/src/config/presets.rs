//! The requests of known providers that name the application of a token, as entries of `OAUTH_PROVIDERS`.
//!
//! Each is from the provider's own documentation, which the comment names.

/// The requests of a provider by its name, which is the id of the provider in next-auth.
const PRESETS: [(&str, &str); 9] = [
    // "Check your token": https://api.intra.42.fr/apidoc/guides/web_application_flow. The server is Doorkeeper:
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
    // "Get OAuth token metadata": https://developers.hubspot.com/docs/api/oauth/tokens. `app_id` is not the client id.
    (
        "hubspot",
        r#"{"api_url":"https://api.hubapi.com",
            "check":{"url":"/oauth/v1/access-tokens","auth":"path","client_id":"/app_id","unknown_token":[400,404]},
            "userinfo":{"id":"/user_id","email":"/user"}}"#,
    ),
    // https://developers.kakao.com/docs/latest/en/kakaologin/rest-api#get-token-info and #req-user-info on the same
    // page. `app_id` is not the REST API key, which is the client id.
    (
        "kakao",
        r#"{"api_url":"https://kapi.kakao.com",
            "check":{"url":"/v1/user/access_token_info","client_id":"/app_id","subject":"/id"},
            "userinfo":{"url":"/v2/user/me","query":{"secure_resource":"true"},"id":"/id",
                        "name":"/kakao_account/profile/nickname","email":"/kakao_account/email",
                        "picture":"/kakao_account/profile/profile_image_url"}}"#,
    ),
    // https://developers.line.biz/en/reference/line-login/#verify-access-token and #get-user-profile on the same page
    (
        "line",
        r#"{"api_url":"https://api.line.me",
            "check":{"url":"/oauth2/v2.1/verify","auth":"query","query":{"access_token":"{token}"},
                     "client_id":"/client_id","unknown_token":[400]},
            "userinfo":{"url":"/v2/profile","id":"/userId","name":"/displayName","picture":"/pictureUrl"}}"#,
    ),
    // https://docs.joinmastodon.org/methods/apps/#verify_credentials and
    // https://docs.joinmastodon.org/methods/accounts/#verify_credentials. `id` is not the client id.
    (
        "mastodon",
        r#"{"check":{"url":"/api/v1/apps/verify_credentials","client_id":"/id"},
            "userinfo":{"url":"/api/v1/accounts/verify_credentials","id":"/id","username":"/username",
                        "name":"/display_name","picture":"/avatar"}}"#,
    ),
    // https://dev.twitch.tv/docs/authentication/validate-tokens/
    (
        "twitch",
        r#"{"api_url":"https://id.twitch.tv",
            "check":{"url":"/oauth2/validate","auth":"oauth","client_id":"/client_id"},
            "userinfo":{"id":"/user_id","username":"/login"}}"#,
    ),
    // "Validating tokens": https://developer.wordpress.com/docs/api/oauth2/. The endpoint answers with an error for a
    // token of another application. https://developer.wordpress.com/docs/api/1.1/get/me/
    (
        "wordpress",
        r#"{"api_url":"https://public-api.wordpress.com",
            "check":{"url":"/oauth2/token-info","auth":"query","query":{"client_id":"{client_id}","token":"{token}"},
                     "client_id":"/client_id","subject":"/user_id","unknown_token":[400,403,404]},
            "userinfo":{"url":"/rest/v1.1/me","id":"/ID","username":"/username","name":"/display_name",
                        "email":"/email","picture":"/avatar_URL"}}"#,
    ),
    // https://yandex.com/dev/id/doc/en/user-information
    (
        "yandex",
        r#"{"api_url":"https://login.yandex.ru",
            "check":{"url":"/info","auth":"oauth","client_id":"/client_id"},
            "userinfo":{"id":"/id","username":"/login","name":"/display_name","email":"/default_email"}}"#,
    ),
];

/// Returns the requests of a known provider, as JSON.
pub(super) fn find(kind: &str) -> Option<&'static str> {
    let preset = PRESETS.iter().find(|(name, _)| *name == kind);
    preset.map(|(_, preset)| *preset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, oauth_providers};

    #[test]
    fn a_name_and_an_app_are_enough_for_each_preset() {
        for (name, _) in PRESETS {
            let api_url = match name {
                "mastodon" => r#","api_url":"https://social.example""#,
                _ => "",
            };
            let setting = format!(r#"[{{"name":"{name}","client_id":"1"{api_url}}}]"#);
            let env = Environment::of([("OAUTH_PROVIDERS", setting)]);
            let read = oauth_providers(&env).expect(name);
            let check = read[0].check.as_ref().expect(name);
            assert!(check.url.starts_with("https://"), "{}", check.url);
        }
    }
}
