//! The operator's command.
#![expect(clippy::print_stderr, reason = "this is a command for people")]

use std::{
    io::{self, Write},
    process::ExitCode,
};

use admin::{Admin, AdminError, Cli};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let Cli {
        command,
        connection,
        json,
    } = Cli::parse();
    let mut out = io::stdout();
    let on_table = async |command, out: &mut (dyn Write + Send)| -> Result<(), AdminError> {
        let admin = Admin::connect(&connection).await?;
        admin.run_on_table(command, json, out).await
    };
    match command.run(&connection, json, &mut out, on_table).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cambio-admin: {error}");
            error.exit_code().into()
        }
    }
}
