//! The command line of the local server: `cargo run` or `npx cambio dev`.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is a command for people"
)]

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use shared::{clock::Clock, config::Environment, http::GRANT_TYPE_TOKEN_EXCHANGE, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use crate::{
    app_env::{AppEnvironment, Written},
    demo, doctor,
    dynamodb::make_private_folder,
    invocation::Invocation,
    operator::{self, OperatorError},
    requests::RequestLog,
    server::{Options, Services},
    settings::{self, CLIENT_ID, CLIENT_SECRET, GitHub},
};

/// Runs Cambio on this machine: the whole API, an embedded DynamoDB, a stand-in GitHub and a stand-in OpenID provider.
/// Needs no set-up.
///
/// Set GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET to sign in with the real GitHub instead of the stand-in.
/// The functions get these variables of the shell unchanged: ACCESS_TOKEN_TTL, ALLOWED_SIGNUPS, CLIENT_RATE_LIMIT,
/// CLIENTS, LINK_BY_VERIFIED_EMAIL, LINK_EMAIL_PROVIDERS, LOG_LEVEL, OAUTH_PROVIDERS, OIDC_PROVIDERS,
/// REFRESH_REUSE_WINDOW, SESSION_ABSOLUTE_TTL, SESSION_IDLE_TTL, SIGNING_KEY_TTL, SIGNING_KEY_TYPE and
/// USER_RATE_LIMIT.
#[derive(Debug, Parser)]
#[command(name = "cambio", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    services: ServiceArgs,
    /// The port of the API.
    #[arg(long, default_value_t = settings::PORT)]
    port: u16,
    /// The URL of your app, for the environment that is printed.
    #[arg(long, value_name = "URL", default_value = "http://localhost:3000")]
    app_url: Url,
    /// Write the environment of your app into this file, such as ../app/.env.local. Other lines of the file stay.
    #[arg(long, value_name = "FILE")]
    write_env: Option<PathBuf>,
}

impl Cli {
    /// Parses the arguments of this process. Its help names the command that started it.
    fn of(invocation: Invocation) -> Self {
        let example = format!("Example:\n  {}", invocation.with("admin users list"));
        let mut cli = Self::command().mut_subcommand("admin", |admin| admin.after_help(example));
        if invocation == Invocation::Npx {
            cli = cli
                .bin_name(invocation.command())
                // Functions under `cargo lambda watch` need a clone of the repository.
                .mut_subcommand("services", |services| services.hide(true));
        }
        let parsed = Self::from_arg_matches_mut(&mut cli.get_matches());
        parsed.unwrap_or_else(|error| error.exit())
    }
}

#[derive(Args, Debug)]
struct ServiceArgs {
    /// Keep the database in memory; all data is lost when the server stops.
    #[arg(long)]
    in_memory: bool,
    /// The folder of the database with users and keys.
    #[arg(long, default_value = ".cambio")]
    data_dir: PathBuf,
    /// The port of the stand-in GitHub.
    #[arg(long, default_value_t = settings::GITHUB_PORT)]
    github_port: u16,
}

impl ServiceArgs {
    fn options(self, dynamodb_port: u16) -> Options {
        Options {
            folder: (!self.in_memory).then_some(self.data_dir),
            dynamodb_port,
            github_port: self.github_port,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the whole flow once over HTTP, prints each step, and exits 0 only if each step gave the expected answer.
    Demo,
    /// Checks the settings of a deployment, with the parsers that a function starts with. Calls nothing.
    ///
    /// Reports each missing or wrong setting with what to write, and shows no secret. Exit codes: 0 valid, 1 a setting
    /// is missing or wrong, 2 wrong command line.
    Check {
        #[command(flatten)]
        check: admin::Check,
        /// Write one line of JSON: `valid`, and `problems` with `setting` and `message`.
        #[arg(long)]
        json: bool,
    },
    /// Examines the API in memory from outside, with good requests and with attacks. `admin doctor` examines any URL.
    Doctor {
        /// Write JSON, one line for each check.
        #[arg(long)]
        json: bool,
    },
    /// Runs the operator's commands for users, keys, clients and providers on the database of the local server, which
    /// may run meanwhile.
    Admin {
        #[command(subcommand)]
        command: admin::Command,
        /// Write JSON, one line for each user or check.
        #[arg(long, global = true)]
        json: bool,
        /// The folder of the database.
        #[arg(long, global = true, default_value = ".cambio")]
        data_dir: PathBuf,
    },
    /// Starts DynamoDB and the stand-in providers alone, for functions that run under `cargo lambda watch`.
    Services {
        #[command(flatten)]
        services: ServiceArgs,
        /// The port of the embedded DynamoDB.
        #[arg(long, default_value_t = 9002)]
        dynamodb_port: u16,
        /// The URL at which the API will listen.
        #[arg(long, default_value = "http://localhost:9000")]
        issuer_url: String,
        /// The file to write the functions' settings to, for `cargo lambda watch --env-file`.
        #[arg(long, default_value = ".cambio/lambda.env")]
        env_file: PathBuf,
    },
}

/// Runs the command of this process to its end, and returns its exit code.
#[tokio::main]
pub async fn main() -> ExitCode {
    let shell = Environment::process();
    let cli = Cli::of(Invocation::of(&shell));
    match run(cli, shell).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cambio: {error}");
            let operator = error.downcast_ref::<OperatorError>();
            operator.map_or(ExitCode::FAILURE, |error| error.exit_code().into())
        }
    }
}

async fn run(cli: Cli, shell: Environment) -> Result<(), Box<dyn std::error::Error>> {
    let invocation = Invocation::of(&shell);
    match cli.command {
        Some(Command::Demo) => demo::run().await?,
        Some(Command::Check { check, json }) => check.run(json, &mut std::io::stdout())?,
        Some(Command::Doctor { json }) => doctor::run(json).await?,
        Some(Command::Admin {
            command,
            json,
            data_dir,
        }) => operator::run(&data_dir, command, json, invocation).await?,
        Some(Command::Services {
            services,
            dynamodb_port,
            issuer_url,
            env_file,
        }) => {
            telemetry::init(&shell, &crate::CRATES)?;
            let services = Services::start(&services.options(dynamodb_port), &shell).await?;
            services.make_first_key(&issuer_url, &shell).await?;
            let variables =
                settings::variables(&shell, &issuer_url, &services.dynamodb, &services.github);
            write_env_file(&env_file, &variables)?;
            let signals = Signals::listen()?;
            println!("DynamoDB     {}", services.dynamodb.url);
            print_github(&services.github);
            println!("Settings     {}\n", env_file.display());
            println!("Run the functions in another terminal:\n");
            println!(
                "  cargo lambda watch --invoke-address 127.0.0.1 --disable-cors --env-file {}",
                env_file.display()
            );
            println!(
                "\nRestart them whenever this command restarts: its DynamoDB accepts only the access key of its own start."
            );
            println!("\nCtrl-C stops.");
            signals.received().await;
            stop(services).await;
        }
        None => {
            let requests = RequestLog::start(&shell, Clock::system())?;
            let mut services = Services::start(&cli.services.options(0), &shell).await?;
            let url = services.start_api(cli.port, &shell, requests).await?;
            let app = AppEnvironment::new(&url, &cli.app_url, &services.github, &shell);
            let written = match &cli.write_env {
                Some(file) => Some((file.as_path(), app.write(file)?)),
                None => None,
            };
            let signals = Signals::listen()?;
            print_next_steps(&url, &services.github, &shell);
            print_environment(&app, written.as_ref(), invocation);
            signals.received().await;
            stop(services).await;
        }
    }
    Ok(())
}

fn write_env_file(file: &Path, variables: &[(&str, String)]) -> Result<(), String> {
    let lines: String = variables
        .iter()
        // In single quotes, because JSON contains double quotes.
        .map(|(name, value)| format!("{name}='{value}'\n"))
        .collect();
    let write = || {
        file.parent().map_or(Ok(()), make_private_folder)?;
        // With the real GitHub, the file contains the secret of the app.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(file)?.write_all(lines.as_bytes())
    };
    write().map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn print_github(github: &GitHub) {
    match github {
        GitHub::StandIn(url) => {
            println!("GitHub       {url} (a stand-in; any login gets an account)");
            println!(
                "OpenID       {} (a stand-in, with the same people)",
                settings::openid_issuer(url)
            );
        }
        GitHub::Real => println!("GitHub       the real GitHub, with the app of GITHUB_CLIENT_ID"),
    }
}

fn print_next_steps(url: &str, github: &GitHub, shell: &Environment) {
    println!("Open {url} in your browser to see what happens.\n");
    println!("Cambio       {url}");
    print_github(github);
    let subject_token = match github {
        GitHub::StandIn(github) => {
            format!(r#""$(curl -s -X POST '{github}/stand-in/tokens?login=octocat')""#)
        }
        GitHub::Real => "gho_…".to_owned(),
    };
    let (id, secret) = if shell.optional("CLIENTS").is_some() {
        ("<client_id>", "<client_secret>")
    } else {
        (CLIENT_ID, CLIENT_SECRET)
    };
    println!(
        r#"
Exchange a GitHub sign-in for a token of your API:

  ANSWER=$(curl -s {url}/token -u {id}:{secret} \
    -d grant_type={GRANT_TYPE_TOKEN_EXCHANGE} \
    -d subject_token_type=urn:ietf:params:oauth:token-type:access_token \
    -d subject_issuer=github \
    -d subject_token={subject_token}); echo "$ANSWER"

Read the signed-in user:

  curl -s {url}/me -H "Authorization: Bearer $(echo "$ANSWER" | sed 's/.*"access_token":"\([^"]*\).*/\1/')"

"#
    );
}

/// Prints the app's environment, or what was written.
fn print_environment(
    app: &AppEnvironment,
    written: Option<&(&Path, Written)>,
    invocation: Invocation,
) {
    let Some((file, written)) = written else {
        println!("The environment of your app, each library with its own names:\n\n{app}");
        println!(
            "To write it into a file:  {}\n",
            invocation.with(match invocation {
                Invocation::Cargo => "--write-env ../app/.env.local",
                Invocation::Npx => "--write-env .env.local",
            })
        );
        println!("Ctrl-C stops.");
        return;
    };
    let file = file.display();
    if written.is_new {
        println!("The environment of your app is in {file}.");
    } else {
        println!("The environment of your app is in {file} already.");
    }
    if !written.changed.is_empty() {
        println!("  changed: {}", written.changed.join(", "));
    }
    if !written.kept.is_empty() {
        println!(
            "  kept, because other lines of the file set them to another value: {}",
            written.kept.join(", ")
        );
    }
    println!("\nCtrl-C stops.");
}

/// The signals that stop the servers.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens before the text says that Ctrl-C stops: until then, a signal ends the process at once.
    fn listen() -> Result<Self, std::io::Error> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn stop(services: Services) {
    services.stop().await;
    println!("\nStopped.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_each_variable_that_is_passed_on() {
        let help = Cli::command().render_long_help().to_string();
        let words: Vec<&str> = help
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        for name in settings::PASSED_ON {
            assert!(words.contains(&name), "{name} is not in\n{help}");
        }
    }
}
