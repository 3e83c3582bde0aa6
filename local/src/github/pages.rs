//! The HTML pages.

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use super::Account;

/// The page that asks for the account to sign in with. The form repeats the request, and each button adds a `login`.
pub(super) fn choose_an_account(
    app: &str,
    scopes: &str,
    request: &[(&str, &str)],
    accounts: &[Account],
) -> Response {
    let hidden: String = request
        .iter()
        .map(|(name, value)| {
            let (name, value) = (escape(name), escape(value));
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
        })
        .collect();
    let buttons: String = accounts
        .iter()
        .map(|account| {
            let (login, name) = names(account);
            format!("<button name=\"login\" value=\"{login}\">Continue as {login} <small>{name}</small></button>\n")
        })
        .collect();
    let scopes = if scopes.is_empty() {
        "your public profile"
    } else {
        scopes
    };
    let (app, scopes) = (escape(app), escape(scopes));

    let content = format!(
        "<p><strong>{app}</strong> asks for: {scopes}. Nobody here needs a password. Who are you?</p>\n\
         <form action=\"/login/oauth/authorize\">\n{hidden}{buttons}\
         <button name=\"cancel\" value=\"true\">Cancel</button>\n</form>"
    );
    page(StatusCode::OK, "Sign in", &content)
}

/// The front page of the stand-in, which explains itself and has no sign-in.
pub(super) fn front(accounts: &[Account]) -> Response {
    let people: String = accounts
        .iter()
        .map(|account| {
            let (login, name) = names(account);
            format!("<li><b>{login}</b> <small>{name}</small></li>\n")
        })
        .collect();
    let content = format!(
        "<p>Your app sends people here to sign in: open your app, and choose “Sign in with GitHub”. These people have an \
         account, and none of them has a password.</p>\n<ul>\n{people}</ul>"
    );
    page(StatusCode::OK, "Who can sign in", &content)
}

/// Returns login and name, escaped for HTML.
fn names(account: &Account) -> (String, String) {
    let name = account.name.as_deref().unwrap_or("no public name");
    (escape(&account.login), escape(name))
}

/// The error page of a sign-in without a trusted address to redirect to.
pub(super) fn dead_end(status: StatusCode, reason: &str) -> Response {
    page(
        status,
        "This sign-in cannot go on",
        &format!("<p>{}</p>", escape(reason)),
    )
}

fn page(status: StatusCode, title: &str, content: &str) -> Response {
    let html = format!(include_str!("page.html"), title = title, content = content);
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        // Without `form-action`, because browsers apply it to the redirect that answers the form, which leads to the
        // app.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(html)).into_response()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
