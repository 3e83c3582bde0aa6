//! The HTML pages.

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use super::Account;

/// The content of the page that asks for the account to sign in with.
pub(crate) struct Question<'a> {
    /// The provider that the stand-in takes the place of.
    pub(crate) provider: &'a str,
    /// The path that the forms are sent to.
    pub(crate) action: &'a str,
    /// The name of the app.
    pub(crate) app: &'a str,
    /// The scopes that the app asks for.
    pub(crate) scopes: &'a str,
    /// The parameters of the authorization request.
    pub(crate) request: &'a [(&'a str, &'a str)],
    /// The accounts to choose from.
    pub(crate) accounts: &'a [Account],
}

/// The page that asks for the account to sign in with. Each form repeats the request and adds a `login`.
pub(crate) fn choose_an_account(question: &Question<'_>) -> Response {
    let Question {
        provider,
        action,
        app,
        scopes,
        request,
        accounts,
    } = *question;
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
         <form action=\"{action}\">\n{hidden}{buttons}</form>\n\
         <form action=\"{action}\">\n{hidden}<label for=\"login\">Or any other login; the stand-in makes the account</label>\n\
         <input id=\"login\" name=\"login\" required maxlength=\"39\" pattern=\"[A-Za-z0-9]([A-Za-z0-9\\-]*[A-Za-z0-9])?\" \
         title=\"Letters, digits and hyphens\" autocomplete=\"off\" autocapitalize=\"off\" spellcheck=\"false\">\n\
         <button>Continue with this login</button>\n\
         <button name=\"cancel\" value=\"true\" formnovalidate>Cancel</button>\n</form>"
    );
    page(StatusCode::OK, provider, "Sign in", &content)
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
         account, and none of them has a password.</p>\n<ul>\n{people}</ul>\n\
         <p>Any other login gets an account at its first sign-in. The same people can sign in at the stand-in OpenID \
         provider, whose <a href=\"/openid/.well-known/openid-configuration\">discovery document</a> is here as well.</p>"
    );
    page(StatusCode::OK, "GitHub", "Who can sign in", &content)
}

/// Returns login and name, escaped for HTML.
fn names(account: &Account) -> (String, String) {
    let name = account.name.as_deref().unwrap_or("no public name");
    (escape(&account.login), escape(name))
}

/// The error page of a sign-in without a trusted address to redirect to.
pub(crate) fn dead_end(status: StatusCode, provider: &str, reason: &str) -> Response {
    page(
        status,
        provider,
        "This sign-in cannot go on",
        &format!("<p>{}</p>", escape(reason)),
    )
}

fn page(status: StatusCode, provider: &str, title: &str, content: &str) -> Response {
    let html = format!(
        include_str!("page.html"),
        provider = provider,
        title = title,
        content = content
    );
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
