//! `cargo run`: Cambio on this machine.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is a command for people"
)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use local::{
    demo,
    server::{Options, Services},
    settings::{self, CLIENT_ID, CLIENT_SECRET, GitHub},
};
use shared::{config::Environment, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// Cambio on this machine: the whole API, an embedded DynamoDB and a stand-in GitHub. Nothing to set up.
///
/// Set GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET to sign in with the real GitHub instead of the stand-in.
/// ACCESS_TOKEN_TTL, CLIENTS, LOG_LEVEL and SIGNING_ALGORITHM go on to the functions.
#[derive(Debug, Parser)]
#[command(name = "cambio", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    storage: Storage,
    /// The port of the API.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// The port of the stand-in GitHub.
    #[arg(long, global = true, default_value_t = 9001)]
    github_port: u16,
}

#[derive(Args, Debug)]
struct Storage {
    /// Keep nothing on disk: all is forgotten at the end.
    #[arg(long, global = true)]
    in_memory: bool,
    /// Where users and keys are kept.
    #[arg(long, global = true, default_value = ".cambio")]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the whole flow once over HTTP, says what happens, and exits 0 only if all of it held.
    Demo,
    /// Starts DynamoDB and the stand-in GitHub alone, for functions that run under `cargo lambda watch`.
    Services {
        /// The port of the embedded DynamoDB.
        #[arg(long, default_value_t = 9002)]
        dynamodb_port: u16,
        /// Where the API will be.
        #[arg(long, default_value = "http://localhost:9000")]
        issuer_url: String,
        /// The file to write the functions' settings to, for `cargo lambda watch --env-file`.
        #[arg(long, default_value = ".cambio/lambda.env")]
        env_file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cambio: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let shell = Environment::process();
    let mut options = Options {
        folder: (!cli.storage.in_memory).then_some(cli.storage.data_dir),
        dynamodb_port: 0,
        github_port: cli.github_port,
    };
    match cli.command {
        Some(Command::Demo) => demo::run().await?,
        Some(Command::Services {
            dynamodb_port,
            issuer_url,
            env_file,
        }) => {
            telemetry::init(&shell)?;
            options.dynamodb_port = dynamodb_port;
            let services = Services::start(&options, &shell).await?;
            services.make_first_key(&issuer_url, &shell).await?;
            let variables = settings::variables(
                &shell,
                &issuer_url,
                &services.dynamodb_url,
                &services.github,
            );
            write_env_file(&env_file, &variables)?;
            println!("DynamoDB     {}", services.dynamodb_url);
            print_github(&services.github);
            println!("Settings     {}\n", env_file.display());
            println!("Now run the functions, in another terminal:\n");
            println!(
                "  cargo lambda watch --invoke-address 127.0.0.1 --disable-cors --env-file {}",
                env_file.display()
            );
            println!("\nCtrl-C stops.");
            until_stopped(services).await?;
        }
        None => {
            telemetry::init(&shell)?;
            let mut services = Services::start(&options, &shell).await?;
            let url = services.start_api(cli.port, &shell).await?;
            print_next_steps(&url, &services.github);
            until_stopped(services).await?;
        }
    }
    Ok(())
}

fn write_env_file(file: &PathBuf, variables: &[(&str, String)]) -> Result<(), String> {
    let lines: String = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    file.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(file, lines))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn print_github(github: &GitHub) {
    match github {
        GitHub::StandIn(url) => println!("GitHub       {url} (a stand-in: sign in as anybody)"),
        GitHub::Real => println!("GitHub       the one that GITHUB_CLIENT_ID belongs to"),
    }
}

fn print_next_steps(url: &str, github: &GitHub) {
    println!("Cambio       {url}");
    print_github(github);
    let subject_token = match github {
        GitHub::StandIn(github) => {
            format!(r#""$(curl -s -X POST '{github}/stand-in/tokens?login=octocat')""#)
        }
        GitHub::Real => "gho_…".to_owned(),
    };
    println!(
        r#"
Trade a GitHub sign-in for a token of yours:

  curl -s {url}/token -u {CLIENT_ID}:{CLIENT_SECRET} \
    -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
    -d subject_token_type=urn:ietf:params:oauth:token-type:access_token \
    -d subject_issuer=github \
    -d subject_token={subject_token}

Ask who that is, with the access_token of the answer:

  curl -s {url}/me -H "Authorization: Bearer $ACCESS_TOKEN"

The environment of your Next.js app (examples/nextjs has one):

  CAMBIO_URL={url}
  CAMBIO_CLIENT_ID={CLIENT_ID}
  CAMBIO_CLIENT_SECRET={CLIENT_SECRET}"#
    );
    if let GitHub::StandIn(github) = github {
        println!(
            "  GITHUB_ID={}\n  GITHUB_SECRET={}\n  GITHUB_URL={github}\n  GITHUB_API_URL={github}",
            settings::GITHUB_CLIENT_ID,
            settings::GITHUB_CLIENT_SECRET,
        );
    }
    println!("\nCtrl-C stops.");
}

async fn until_stopped(services: Services) -> Result<(), std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    services.stop().await;
    println!("\nStopped.");
    Ok(())
}
