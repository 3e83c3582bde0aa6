//! `cargo run -- doctor`: examines the API in memory, with every check that a machine without a network can run.
//!
//! The API has two clients, and its clock can be moved, so that an access token expires at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use admin::{
    AdminError,
    doctor::{Credentials, Doctor, DoctorError, KeysTable, Pause, Subject, Target},
};
use shared::{clock::Clock, config::Environment, keys::KeyStore};
use thiserror::Error;
use url::Url;

use crate::{
    dynamodb::KEYS_TABLE,
    next_app::NextApp,
    operator,
    server::{Options, ServerError, Services},
    settings::{self, CLIENT_ID, CLIENT_SECRET, GitHub},
};

/// The second client, which is of use only here.
const OTHER_CLIENT: (&str, &str) = ("other", "other-client-secret-not-for-production");

/// Reasons that the examination fails.
#[derive(Debug, Error)]
pub enum LocalDoctorError {
    /// The servers do not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A request to the stand-in failed.
    #[error("a request failed: {0}")]
    Http(#[from] reqwest::Error),
    /// A check failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Starts the API in memory and examines it.
///
/// # Errors
/// A check failed, or the servers do not start.
pub async fn run(json: bool) -> Result<(), LocalDoctorError> {
    let options = Options {
        folder: None,
        dynamodb_port: 0,
        github_port: 0,
    };
    // The result must not depend on the settings of the shell.
    let clients = settings::clients(&[(CLIENT_ID, CLIENT_SECRET), OTHER_CLIENT]);
    let shell = Environment::of([("CLIENTS", clients)]);
    let mut services = Services::start(&options, &shell).await?;
    let GitHub::StandIn(github) = services.github.clone() else {
        return Err(wrong("there is no stand-in GitHub"));
    };
    let moved = Arc::new(AtomicU64::new(0));
    let clock = {
        let (system, moved) = (Clock::system(), moved.clone());
        Clock::new(move || system.now() + moved.load(Ordering::SeqCst))
    };
    let url = services.start_bare_api(&shell, clock).await?;
    let app = NextApp::new(&github, &url)?;
    let mut tokens = Vec::new();
    for login in ["octocat", "octocat"] {
        tokens.push(app.stand_in_token(login).await?.into());
    }
    let keys = match operator::client(&services.dynamodb) {
        Ok(client) => match KeyStore::new(client, KEYS_TABLE.to_owned())
            .find_set()
            .await
        {
            Ok(set) => KeysTable::Read(set),
            Err(error) => KeysTable::Unreadable(error.to_string()),
        },
        Err(error) => KeysTable::Unreadable(error.to_string()),
    };
    let url = Url::parse(&url).map_err(|_| wrong("the URL of the API"))?;
    let mut target = Target::new(url);
    target.client = Some(Credentials::new(CLIENT_ID, CLIENT_SECRET));
    target.other_client = Some(Credentials::new(OTHER_CLIENT.0, OTHER_CLIENT.1));
    target.subject = Some(Subject {
        provider: "github".to_owned(),
        token_type: None,
        tokens,
    });
    target.wait = std::time::Duration::from_hours(1);
    let pause = Pause::of(move |time| {
        moved.fetch_add(time.as_secs(), Ordering::SeqCst);
    });
    let doctor = Doctor::new(target).with_pause(pause).with_keys_table(keys);
    let done = doctor.run(json, &mut io::stdout()).await;
    services.stop().await;
    Ok(done?)
}

fn wrong(what: &str) -> LocalDoctorError {
    AdminError::from(DoctorError::Wrong(what.to_owned())).into()
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn t180_the_doctor_finds_the_local_api_sound() {
        crate::scene::all_threads_listen();

        super::run(false).await.unwrap();
    }
}
