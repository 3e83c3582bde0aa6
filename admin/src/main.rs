//! The operator's command.
#![expect(clippy::print_stderr, reason = "this is a command for people")]

use std::{io, process::ExitCode};

use admin::{Admin, Cli, Command};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = async {
        if let Command::Check(check) = &cli.command {
            return check.run(cli.json, &mut io::stdout());
        }
        if let Command::Doctor(doctor) = &cli.command {
            return doctor
                .run(&cli.connection, cli.json, &mut io::stdout())
                .await;
        }
        let admin = Admin::connect(&cli.connection).await?;
        admin.run(cli.command, cli.json, &mut io::stdout()).await
    };
    match done.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cambio-admin: {error}");
            error.exit_code().into()
        }
    }
}
