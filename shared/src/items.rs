//! The items of both tables as the operator sees them: their kinds and schemas, those that this version cannot read,
//! and the migrations from one schema to the next.
//!
//! Only the operator's command `admin` uses this module.

use serde::Serialize;

pub use crate::dynamodb::{AttributeValue, FIRST_SCHEMA, Item, SCHEMA};
use crate::{
    config::Group,
    dynamodb::{
        Attempts, Client, Expression, Outcome, StoreError, Table, decode, number, schema_of,
        table::{
            ASSERTION, EMAIL, IDENTITY, LIMIT, SESSION, USER, key_set_key, settings_key, sort_key,
        },
    },
    keys::KeySet,
    sessions,
    stored::Settings,
    users::{self, User},
};

/// The migrations of this version, in their order.
///
/// There are none: every form of an item that was ever written is of the first schema. docs/architecture.md says when a
/// form needs another number, and what comes before its migration.
pub const MIGRATIONS: &[Migration] = &[];

/// The kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A user.
    User,
    /// A session.
    Session,
    /// An account of a provider.
    Identity,
    /// A verified address.
    Email,
    /// A token that is good once and was used.
    UsedToken,
    /// The requests of a client in a minute.
    Counter,
    /// The published key set.
    KeySet,
    /// The clients in the keys table.
    Clients,
    /// The providers in the keys table.
    Providers,
    /// An item with a key that this version does not write.
    Unknown,
}

impl Kind {
    fn of(item: &Item) -> Self {
        let text = |name| item.get(name).and_then(|value| value.as_s().ok());
        let (Some(pk), Some(sk)) = (text("pk"), text("sk")) else {
            return Self::Unknown;
        };
        let is = |prefix: &str| pk.starts_with(prefix) && sk == sort_key(prefix);
        if pk.starts_with(USER) && sk.starts_with(SESSION) {
            return Self::Session;
        }
        if pk.starts_with(LIMIT) && sk.starts_with(LIMIT) {
            return Self::Counter;
        }
        let kinds = [
            (USER, Self::User),
            (IDENTITY, Self::Identity),
            (EMAIL, Self::Email),
            (ASSERTION, Self::UsedToken),
        ];
        let kind = kinds.into_iter().find(|(prefix, _)| is(prefix));
        kind.map_or(Self::Unknown, |(_, kind)| kind)
    }

    /// Reads an item as the functions do. Used tokens and counters are gone within hours, and of them only the schema
    /// is read.
    fn read(self, item: Item) -> Result<(), StoreError> {
        match self {
            Self::User => decode::<User>(item).map(drop),
            Self::Session => sessions::check_item(item),
            Self::Identity => users::check_identity(item),
            Self::Email => users::check_email(&item),
            Self::KeySet => decode::<KeySet>(item).map(drop),
            Self::Clients | Self::Providers => decode::<Settings>(item).map(drop),
            Self::UsedToken | Self::Counter | Self::Unknown => decode::<Schema>(item).map(drop),
        }
    }

    /// Returns the key of an item, without the text of an unknown one, which may be personal data.
    fn key_of(self, item: &Item) -> String {
        let text = |name| item.get(name).and_then(|value| value.as_s().ok());
        match (self, text("pk"), text("sk")) {
            (Self::Unknown, ..) | (_, None, _) => "a key of another form".to_owned(),
            (Self::Session, Some(pk), Some(sk)) => format!("{pk} {sk}"),
            (_, Some(pk), _) => pk.clone(),
        }
    }
}

/// An item of which only the schema matters.
#[derive(serde::Deserialize)]
struct Schema {}

/// An item with what is known about it.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The kind.
    pub kind: Kind,
    /// The schema; `None` if the attribute is not a number.
    pub schema: Option<u32>,
    /// The key, without personal data.
    pub key: String,
    /// The reason that this version cannot read the item.
    pub problem: Option<String>,
    item: Item,
}

impl Examined {
    fn new(kind: Kind, item: Item) -> Self {
        Self {
            kind,
            schema: schema_of(&item).ok(),
            key: kind.key_of(&item),
            problem: kind.read(item.clone()).err().map(|error| error.to_string()),
            item,
        }
    }
}

/// A page of items, and the start of the next page.
#[derive(Debug)]
pub struct Page {
    /// The items.
    pub items: Vec<Examined>,
    /// The start of the next page; `None` after the last one.
    pub next: Option<Cursor>,
}

/// A position between two pages.
#[derive(Clone, Debug)]
pub struct Cursor(Item);

/// A change of the items of a kind from one schema to the next.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The name.
    pub name: &'static str,
    /// The kind of the items.
    pub kind: Kind,
    /// The schema of the items before it. The next number is the one after it.
    pub from: u32,
    /// All attributes that it reads or changes.
    pub attributes: &'static [&'static str],
    /// Changes these attributes, and gets no other ones.
    pub change: fn(&mut Item),
}

impl Migration {
    /// Returns whether the item waits for this migration.
    pub fn is_for(&self, item: &Examined) -> bool {
        item.kind == self.kind && item.schema == Some(self.from)
    }

    /// Returns the change of `item`, and the condition that nothing of what it rests on has changed.
    fn of(&self, item: &Item) -> [Expression; 2] {
        let mut condition = Expression::exists().and(is_of_schema(self.from));
        let mut values = vec![(":schema".to_owned(), number(self.from + 1))];
        let (mut set, mut remove) = (vec!["#schema = :schema".to_owned()], Vec::new());
        let named = self.attributes.iter().map(|name| (*name).to_owned());
        let before: Item = named
            .filter_map(|name| Some((name.clone(), item.get(&name)?.clone())))
            .collect();
        let mut after = before.clone();
        (self.change)(&mut after);
        for (nth, &name) in self.attributes.iter().enumerate() {
            condition = condition.and(match before.get(name) {
                Some(old) => {
                    let is_same = Expression::new(format!("#{name} = :old{nth}"));
                    is_same.value(format!(":old{nth}"), old.clone())
                }
                None => Expression::new(format!("attribute_not_exists(#{name})")),
            });
            match (before.get(name), after.remove(name)) {
                (old, Some(new)) if old != Some(&new) => {
                    set.push(format!("#{name} = :new{nth}"));
                    values.push((format!(":new{nth}"), new));
                }
                (Some(_), None) => remove.push(format!("#{name}")),
                _ => {}
            }
        }
        let mut change = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            change.push_str(" REMOVE ");
            change.push_str(&remove.join(", "));
        }
        [Expression::new(change).values(values), condition]
    }
}

fn is_of_schema(schema: u32) -> Expression {
    let is_equal = if schema == FIRST_SCHEMA {
        "(attribute_not_exists(#schema) OR #schema = :from)"
    } else {
        "#schema = :from"
    };
    Expression::new(is_equal).value(":from", number(schema))
}

/// Reads and migrates the items of a table.
#[derive(Clone, Debug)]
pub struct Items {
    table: Table,
}

impl Items {
    /// Returns a reader of the items of `table`.
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Reads a page of the main table from `from` on, in no order.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn page(&self, from: Option<Cursor>) -> Result<Page, StoreError> {
        let start = from.map(|Cursor(key)| key);
        let scanned = self.table.scan(Expression::default(), start).await?;
        let items = scanned.items.unwrap_or_default();
        Ok(Page {
            items: items
                .into_iter()
                .map(|item| Examined::new(Kind::of(&item), item))
                .collect(),
            next: scanned.last_evaluated_key.map(Cursor),
        })
    }

    /// Reads the key set, the clients and the providers of the keys table, where they are. Reads no private key.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn of_keys_table(&self) -> Result<Vec<Examined>, StoreError> {
        let mut found = Vec::new();
        for (kind, key) in [
            (Kind::KeySet, key_set_key()),
            (Kind::Clients, settings_key(Group::Clients)),
            (Kind::Providers, settings_key(Group::Providers)),
        ] {
            let item = self.table.item(key, true).await?;
            found.extend(item.map(|item| Examined::new(kind, item)));
        }
        Ok(found)
    }

    /// Migrates an item. Returns `false` if it is gone, or is of another schema by now.
    ///
    /// A change of one of the migration's attributes since the item was read is not overwritten: the migration starts
    /// again from the changed item. Other attributes stay as they are.
    ///
    /// # Errors
    /// The table cannot be used, or parallel requests kept changing the item. Then the item is as it was.
    pub async fn migrate(
        &self,
        examined: Examined,
        migration: &Migration,
    ) -> Result<bool, StoreError> {
        let mut item = examined.item;
        let key: Item = ["pk", "sk"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone())))
            .collect();
        let mut attempts = Attempts::at("the item");
        loop {
            if schema_of(&item)? != migration.from {
                return Ok(false);
            }
            let [change, condition] = migration.of(&item);
            let written = self
                .table
                .update(key.clone(), change, condition.returning_item(), None)
                .await?;
            match written {
                Outcome::Done(_) => return Ok(true),
                Outcome::Failed(None) => return Ok(false),
                Outcome::Failed(Some(found)) => item = found,
            }
            attempts.again().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::{string, table::user_key, tests::condition_holds};

    const RENAME: Migration = Migration {
        name: "rename",
        kind: Kind::User,
        from: 1,
        attributes: &["old", "new"],
        change: |item| {
            if let Some(value) = item.remove("old") {
                item.insert("new".to_owned(), value);
            }
        },
    };

    fn user(attributes: &[(&str, AttributeValue)]) -> Item {
        let mut item = user_key(crate::ids::UserId::generate());
        let attributes = attributes.iter().cloned();
        item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
        item
    }

    #[test]
    fn an_item_without_the_attributes_of_its_kind_cannot_be_read() {
        let problem = |kind| Examined::new(kind, user(&[])).problem;
        for kind in [
            Kind::User,
            Kind::Session,
            Kind::Identity,
            Kind::Email,
            Kind::KeySet,
            Kind::Clients,
            Kind::Providers,
        ] {
            assert_ne!(problem(kind), None, "{kind:?}");
        }
        for kind in [Kind::UsedToken, Kind::Counter, Kind::Unknown] {
            assert_eq!(problem(kind), None, "{kind:?}");
        }
    }

    #[test]
    fn each_migration_is_to_a_schema_of_this_version_and_of_the_main_table() {
        for migration in MIGRATIONS {
            assert!((FIRST_SCHEMA..SCHEMA).contains(&migration.from));
            let is_of_keys_table = [Kind::KeySet, Kind::Clients, Kind::Providers];
            assert!(!is_of_keys_table.contains(&migration.kind));
        }
    }

    #[test]
    fn a_migration_changes_its_attributes_and_the_schema() {
        let item = user(&[("old", string("a")), ("other", string("b"))]);
        let [change, condition] = RENAME.of(&item);

        let expected = "SET #schema = :schema, #new = :new1 REMOVE #old";
        assert_eq!(change.text(), expected);
        let expected = "attribute_exists(#pk) AND (attribute_not_exists(#schema) OR #schema = :from) \
             AND #old = :old0 AND attribute_not_exists(#new)";
        assert_eq!(condition.text(), expected);
    }

    #[test]
    fn a_migration_of_an_item_without_its_attributes_changes_the_schema_alone() {
        let [change, _] = RENAME.of(&user(&[]));
        assert_eq!(change.text(), "SET #schema = :schema");
    }

    #[tokio::test]
    async fn t196_what_changed_since_the_item_was_read_is_not_overwritten() {
        let read = user(&[("old", string("a"))]);
        let holds = async |change: &[(&str, AttributeValue)]| {
            let mut item = read.clone();
            item.extend(user(change).into_iter().filter(|(name, _)| name != "pk"));
            let [_, condition] = RENAME.of(&read);
            condition_holds(item, condition).await
        };

        assert!(holds(&[]).await);
        assert!(holds(&[("other", string("b"))]).await);
        assert!(holds(&[("schema", number(1_u64))]).await);
        assert!(!holds(&[("old", string("b"))]).await);
        assert!(!holds(&[("new", string("b"))]).await);
        assert!(!holds(&[("schema", number(2_u64))]).await);
    }

    #[test]
    fn an_item_is_named_by_its_key_unless_the_key_may_be_anything() {
        let item = user(&[("email", string("ada@example.com"))]);
        let examined = Examined::new(Kind::of(&item), item);
        assert!(examined.key.starts_with("USER#") && examined.kind == Kind::User);
        assert_eq!(examined.schema, Some(1));
        let problem = examined.problem.unwrap();
        assert!(!problem.contains("ada"), "{problem}");

        let pk = [("pk", string("ada@example.com")), ("sk", string("x"))];
        let item: Item = pk.map(|(name, value)| (name.to_owned(), value)).into();
        let examined = Examined::new(Kind::of(&item), item);
        assert_eq!(examined.kind, Kind::Unknown);
        assert!(!examined.key.contains("ada"), "{}", examined.key);
    }
}
