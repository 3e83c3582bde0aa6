//! `migrate`: the kinds and schemas of all items, those that this version cannot read, and the migrations.

use std::{collections::BTreeMap, io::Write, num::NonZeroU32, time::Duration};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use shared::{
    dynamodb::StoreError,
    items::{Examined, Items, Kind, Migration, SCHEMA},
};
use tokio::time::MissedTickBehavior;

use crate::{Admin, AdminError, output::write_json};

/// The number of unreadable items that are named. All are counted.
const NAMED: usize = 100;

/// The arguments of `migrate`.
#[derive(Args, Debug)]
pub struct MigrateArgs {
    /// Change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The largest number of items that are changed in a second.
    #[arg(long, value_name = "ITEMS", default_value = "100")]
    pub rate: NonZeroU32,
}

/// The result of reading all items.
#[derive(Default)]
struct Report {
    /// The number of items of each kind and schema.
    counts: BTreeMap<(Kind, Option<u32>), u64>,
    /// The first unreadable items.
    named: Vec<Examined>,
    unreadable: u64,
    /// The number of items that wait for each migration.
    waiting: Vec<u64>,
}

impl Report {
    fn add(&mut self, item: Examined, migrations: &[Migration]) {
        *self.counts.entry((item.kind, item.schema)).or_default() += 1;
        let mut schema = item.schema;
        for (waiting, migration) in self.waiting.iter_mut().zip(migrations) {
            if migration.kind == item.kind && schema == Some(migration.from) {
                *waiting += 1;
                schema = Some(migration.from + 1);
            }
        }
        if item.problem.is_some() {
            self.unreadable += 1;
            if self.named.len() < NAMED {
                self.named.push(item);
            }
        }
    }

    fn write(&self, json: bool, out: &mut (dyn Write + Send)) -> Result<(), AdminError> {
        for (&(kind, schema), &items) in &self.counts {
            let line = json!({ "kind": kind, "schema": schema, "items": items });
            if json {
                write_json(out, &[line])?;
                continue;
            }
            let kind = line["kind"].as_str().unwrap_or_default();
            let schema = schema.map_or_else(|| "?".to_owned(), |schema| schema.to_string());
            writeln!(out, "{kind:<12} schema {schema:<4} {items:>12} items")?;
        }
        for item in &self.named {
            let problem = item.problem.as_deref().unwrap_or_default();
            if json {
                let (kind, key) = (item.kind, &item.key);
                write_json(
                    out,
                    &[json!({ "unreadable": key, "kind": kind, "problem": problem })],
                )?;
            } else {
                writeln!(out, "unreadable: {}: {problem}", item.key)?;
            }
        }
        Ok(())
    }
}

impl Admin {
    pub(crate) async fn migrate(
        &self,
        args: &MigrateArgs,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        self.require_table()?;
        let items = Items::new(self.client.clone(), self.table.clone());
        let mut report = Report {
            waiting: vec![0; self.migrations.len()],
            ..Report::default()
        };
        if let Some(table) = &self.keys_table {
            let keys = Items::new(self.client.clone(), table.clone());
            for item in keys.of_keys_table().await? {
                report.add(item, self.migrations);
            }
        }
        let count = async |item, _: &ProgressBar| {
            report.add(item, self.migrations);
            Ok(())
        };
        self.each_item(&items, json, count).await?;
        report.write(json, out)?;
        for (migration, &waiting) in self.migrations.iter().zip(&report.waiting) {
            let done = if args.dry_run {
                0
            } else {
                self.apply(&items, migration, args.rate, json).await?
            };
            let (name, kind, to) = (migration.name, migration.kind, migration.from + 1);
            if json {
                let counts = json!({
                    "migration": name, "kind": kind, "schema": to, "waiting": waiting, "migrated": done,
                });
                write_json(out, &[counts])?;
            } else if args.dry_run {
                writeln!(
                    out,
                    "{name}, to schema {to}: {waiting} items would be changed"
                )?;
            } else {
                writeln!(out, "{name}, to schema {to}: {done} items changed")?;
            }
        }
        if self.migrations.is_empty() && !json {
            writeln!(
                out,
                "no migration: this version writes schema {SCHEMA}, and reads all schemas up to it"
            )?;
        }
        match report.unreadable {
            0 => Ok(()),
            unreadable => Err(AdminError::UnreadableItems(unreadable)),
        }
    }

    /// Applies a migration to the whole table, and returns the number of changed items. Items that an earlier run
    /// changed are read and left alone.
    async fn apply(
        &self,
        items: &Items,
        migration: &Migration,
        rate: NonZeroU32,
        quiet: bool,
    ) -> Result<u64, AdminError> {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.get());
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done = 0;
        let migrate = async |item: Examined, progress: &ProgressBar| {
            if migration.is_for(&item) {
                pace.tick().await;
                done += u64::from(items.migrate(item, migration).await?);
                progress.set_message(format!("{done} changed"));
            }
            Ok(())
        };
        match self.each_item(items, quiet, migrate).await {
            Ok(()) => Ok(done),
            Err(error) => Err(AdminError::MigrationStopped { error, done }),
        }
    }

    /// Reads all items of the table, and does `work` with each of them.
    async fn each_item(
        &self,
        items: &Items,
        quiet: bool,
        mut work: impl AsyncFnMut(Examined, &ProgressBar) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let progress = self.progress(quiet).await;
        let mut from = None;
        loop {
            let page = items.page(from).await?;
            progress.inc(u64::try_from(page.items.len()).unwrap_or_default());
            for item in page.items {
                work(item, &progress).await?;
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        progress.finish_and_clear();
        Ok(())
    }
}
