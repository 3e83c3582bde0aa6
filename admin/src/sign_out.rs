//! `users sign-out`: the end of all sessions of users.

use std::io::{self, IsTerminal as _, Write};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use shared::{
    clock::{Timestamp, parse_rfc3339, rfc3339},
    users::UserId,
};

use crate::{
    Admin, AdminError,
    output::write_json,
    users::{all_read, confirm, write_user},
};

/// The number of users who are signed out at the same time.
const PARALLEL: usize = 16;

/// The arguments of `users sign-out`.
#[derive(Args, Debug)]
pub struct SignOutArgs {
    /// The users' ids.
    #[arg(required_unless_present = "all")]
    pub ids: Vec<UserId>,
    /// Sign all users out. Reads the whole table, and writes each user once.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Go on with an earlier `--all`, whose time is this (RFC 3339): users who were signed out by it are left alone.
    #[arg(long, value_name = "TIME", requires = "all", value_parser = order)]
    pub order: Option<Timestamp>,
    /// Sign all users out without asking for confirmation.
    #[arg(long)]
    pub yes: bool,
}

fn order(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text).ok_or_else(|| "expected a time like 2026-11-28T03:56:00Z".to_owned())
}

impl Admin {
    pub(crate) async fn sign_out(
        &self,
        args: SignOutArgs,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        if args.all {
            return self.sign_out_all(&args, json, out).await;
        }
        let mut shown = Ok(());
        for id in args.ids {
            if !self.users.end_sessions(id).await? {
                return Err(AdminError::NoSuchUser(id));
            }
            if json {
                // A user who cannot be shown does not stop the sign-outs that follow.
                shown = shown.and(self.show(id, out).await);
            } else {
                writeln!(out, "{id}  signed out; all sessions have ended")?;
            }
        }
        shown
    }

    async fn show(&self, id: UserId, out: &mut (dyn Write + Send)) -> Result<(), AdminError> {
        let user = self.users.find(id).await?;
        let user = user.ok_or(AdminError::NoSuchUser(id))?;
        write_user(out, user.into(), true)
    }

    async fn sign_out_all(
        &self,
        args: &SignOutArgs,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        if !args.yes {
            let question = "All users must sign in again. Type all to sign them out: ";
            confirm(question, "all", AdminError::NotSignedOut)?;
        }
        let order = args.order.unwrap_or_else(|| self.clock.now());
        if io::stderr().is_terminal() {
            let order = rfc3339(order);
            writeln!(
                io::stderr(),
                "If this is interrupted, go on with: users sign-out --all --order {order}"
            )?;
        }
        let progress = self.progress(json).await;
        let (mut done, mut before) = (0, 0);
        let mut unreadable = Vec::new();
        let mut from = None;
        loop {
            let stopped = |error, done| AdminError::SignOutStopped {
                error,
                done,
                order: rfc3339(order),
            };
            let page = self.users.page(from).await;
            let page = page.map_err(|error| stopped(error, done))?;
            unreadable.extend(page.unreadable);
            let ids = page.users.into_iter().map(|user| user.id);
            let writes = ids.map(|id| self.users.end_sessions_by(id, order));
            let mut writes = stream::iter(writes).buffer_unordered(PARALLEL);
            while let Some(written) = writes.next().await {
                let is_new = written.map_err(|error| stopped(error, done))?;
                *(if is_new { &mut done } else { &mut before }) += 1;
                progress.set_message(format!("{done} signed out"));
            }
            progress.inc(page.scanned);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        progress.finish_and_clear();
        let order = rfc3339(order);
        if json {
            let counts = json!({ "signed_out": done, "before": before, "order": order });
            write_json(out, &[counts])?;
        } else {
            let earlier = match before {
                0 => String::new(),
                before => format!("; by it before, or by a later one: {before}"),
            };
            writeln!(
                out,
                "users signed out by the order of {order}: {done}{earlier}"
            )?;
        }
        all_read(unreadable)
    }
}
