//! The command line.

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use shared::users::UserId;

/// Cambio's users, for its operator: find them, give them roles, shut them out, delete them.
///
/// It talks to DynamoDB with your own AWS credentials, as the AWS CLI finds them. Exit codes: 1 it failed, 2 the command line is wrong,
/// 3 there is no such user.
#[derive(Debug, Parser)]
#[command(name = "cambio-admin", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where the users are.
    #[command(flatten)]
    pub connection: Connection,
    /// Write JSON: a line for each user.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where the users are.
#[derive(Args, Debug)]
pub struct Connection {
    /// The main table: the stack's output TableName.
    #[arg(
        long,
        env = "TABLE_NAME",
        default_value = "",
        global = true,
        hide_default_value = true
    )]
    pub table: String,
    /// The AWS region; AWS_REGION or the profile's unless given.
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The profile of your AWS configuration; AWS_PROFILE unless given.
    #[arg(long, global = true)]
    pub profile: Option<String>,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find, show and change users.
    #[command(subcommand)]
    Users(UsersCommand),
}

/// What there is to do with users.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List users; reads the whole table.
    List {
        /// Those with this role only.
        #[arg(long)]
        role: Option<String>,
        /// Those who are disabled only.
        #[arg(long)]
        disabled: bool,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Find users by id, e-mail address, login, `provider:subject`, or part of their name; reads the whole table unless it is
    /// an id.
    #[command(after_help = "Examples:\n  users find ada@example.com\n  users find github:583231")]
    Find {
        /// What to look for.
        text: String,
    },
    /// Show all that there is of a user, with the sessions that are alive.
    Show {
        /// The user's id.
        id: UserId,
    },
    /// Show or change what a user may do; the user's next access token says so.
    #[command(after_help = "Example:\n  users roles 0199… --add admin --remove support")]
    Roles {
        /// The user's id.
        id: UserId,
        /// Give this role.
        #[arg(long, value_name = "ROLE")]
        add: Vec<String>,
        /// Take this role away.
        #[arg(long, value_name = "ROLE")]
        remove: Vec<String>,
        /// Have these roles and no others; `--set ''` is none.
        #[arg(long, value_name = "ROLE,ROLE", conflicts_with_all = ["add", "remove"])]
        set: Option<String>,
    },
    /// Show or change what else a user's access tokens say.
    #[command(
        after_help = "Example:\n  users claims 0199… --set plan=pro --set seats=5 --remove trial"
    )]
    Claims {
        /// The user's id.
        id: UserId,
        /// Set a claim; a value that is no JSON is a text.
        #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
        set: Vec<(String, Value)>,
        /// Take a claim away.
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
    },
    /// Shut users out. All their sessions are over at once, on these routes and for refreshing; elsewhere when their access token ends.
    Disable {
        /// The users' ids.
        #[arg(required = true)]
        ids: Vec<UserId>,
    },
    /// Let users in again. They sign in anew: what was over stays over.
    Enable {
        /// The users' ids.
        #[arg(required = true)]
        ids: Vec<UserId>,
    },
    /// Delete users, with their identities and sessions. There is no way back but a backup.
    Delete {
        /// The users' ids.
        #[arg(required = true)]
        ids: Vec<UserId>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "it is written NAME=VALUE".to_owned())?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_claim_is_json_where_it_can_be() {
        assert_eq!(claim("a=1"), Ok(("a".to_owned(), json!(1))));
        assert_eq!(claim("a=pro"), Ok(("a".to_owned(), json!("pro"))));
        assert_eq!(claim("a=[1,\"=\"]"), Ok(("a".to_owned(), json!([1, "="]))));
        assert_eq!(claim("a="), Ok(("a".to_owned(), json!(""))));
        assert!(claim("a").is_err());
    }
}
