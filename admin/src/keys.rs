//! The commands for signing keys, which run the code of `rotate-keys`.

use std::io::Write;

use clap::{Args, Subcommand};
use rotate_keys::{Order, Report, RotateKeys, State, When};
use shared::keys::KeyStore;

use crate::{
    Admin, AdminError, SettingsArgs,
    output::{table, write_json},
    settings::KEYS_TABLE_NAME,
    users::confirm,
};

/// The commands for signing keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the published keys, and which one signs.
    List,
    /// Let the next key sign as soon as every reader can know it: at once, or a day after its publication.
    Rotate {
        /// The settings of `rotate-keys`.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Revoke a key, for example a stolen one: its tokens are refused. Safe to repeat.
    Revoke(RevokeArgs),
}

/// The arguments of `keys revoke`.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The key's `kid`.
    // One in 64 begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    pub kid: String,
    /// The settings of `rotate-keys`.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Revoke without asking for confirmation.
    #[arg(long)]
    pub yes: bool,
}

impl Admin {
    pub(crate) async fn keys(
        &self,
        command: KeysCommand,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let report = match command {
            KeysCommand::List => self.listed_keys().await?,
            KeysCommand::Rotate { settings } => {
                let order = Order {
                    rotate: When::Now,
                    revoke: None,
                };
                self.change_keys(&settings, &order).await?
            }
            KeysCommand::Revoke(args) => {
                if !args.yes {
                    let question =
                        "All tokens that the key signed are refused. Type revoke to revoke it: ";
                    confirm(question, "revoke", AdminError::NotRevoked)?;
                }
                let order = Order {
                    revoke: Some(args.kid),
                    ..Order::default()
                };
                self.change_keys(&args.settings, &order).await?
            }
        };
        if json {
            write_json(out, &[report])?;
        } else {
            write_keys(out, &report)?;
        }
        Ok(())
    }

    async fn listed_keys(&self) -> Result<Report, AdminError> {
        let table = self.keys_table.clone().ok_or(AdminError::NoKeysTable)?;
        let set = KeyStore::new(self.client.clone(), table).find_set().await?;
        let set = set.ok_or(AdminError::NoKeys)?;
        Ok(Report::of(&set, self.clock.now(), false))
    }

    async fn change_keys(
        &self,
        settings: &SettingsArgs,
        order: &Order,
    ) -> Result<Report, AdminError> {
        let variables = self.settings_of(settings)?;
        // Keys of another type, for another time, or missing in the files would be made without them.
        if variables.get(KEYS_TABLE_NAME).is_none() {
            return Err(AdminError::Settings(
                "no settings: give --settings with the environment variables of the deployed rotate-keys \
                 (docs/operate.md), so that the keys are made as the function makes them"
                    .to_owned(),
            ));
        }
        let rotate_keys = RotateKeys::new(&variables.environment(), self.clock.clone())?;
        Ok(rotate_keys.run(order).await?)
    }
}

fn write_keys(out: &mut dyn Write, report: &Report) -> Result<(), AdminError> {
    let mut table = table(&["KID", "STATE", "SIGNS FROM", "REMOVED"]);
    for key in &report.keys {
        let state = match key.state {
            State::Next => "next",
            State::Current => "current",
            State::Retired => "retired",
        };
        table.add_row([
            &*key.kid,
            state,
            key.sign_from.as_deref().unwrap_or("-"),
            key.verify_until.as_deref().unwrap_or("-"),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, Command, TableCommand};

    #[test]
    fn a_kid_that_begins_with_a_hyphen_is_no_option() {
        let kid = "-CZCk0b1fYx3yq7h2n8Vg5s6d4j9lmPp1tRrUuWwZzA";
        let cli = Cli::try_parse_from(["cambio-admin", "keys", "revoke", kid, "--yes"]).unwrap();
        let Command::Table(TableCommand::Keys(KeysCommand::Revoke(args))) = cli.command else {
            panic!("another command");
        };
        assert_eq!((args.kid.as_str(), args.yes), (kid, true));
    }
}
