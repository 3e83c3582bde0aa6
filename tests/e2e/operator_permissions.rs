//! The permissions of the operator's command: each command calls what the page about it says, and the page names no
//! more.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::admin::Admin;
use serde_json::{Value, json};
use shared::config::{Environment, Group};
use tests::Service;

use crate::{
    admin::{admin_of, run_to_its_end},
    migrate::{NAME_INTO_PROFILE, age},
    permissions::needs,
    stored::file_of,
};

const PAGE: &str = include_str!("../../docs/operate.md");
/// The table of users and the table of keys, as indexes of the policy's statements.
const TABLES: [&str; 2] = [local::dynamodb::TABLE, local::dynamodb::KEYS_TABLE];

/// The actions on each of the tables.
type Actions = [BTreeSet<String>; 2];

fn section() -> &'static str {
    let (_, rest) = PAGE.split_once("## Permissions of the command\n").unwrap();
    rest.split_once("\n## ").unwrap().0
}

/// Returns the actions of the policy.
fn policy() -> Actions {
    let (policy, _) = section().split_once("\n| command").unwrap();
    let policy: Value = serde_json::from_str(policy).unwrap();
    [0, 1].map(|nth| {
        let actions = policy["Statement"][nth]["Action"].as_array().unwrap();
        let actions = actions.iter().map(|action| action.as_str().unwrap());
        let actions = actions.map(|action| action.strip_prefix("dynamodb:").unwrap());
        actions.map(str::to_owned).collect()
    })
}

/// Returns the actions that a text names.
fn actions(text: &str) -> BTreeSet<String> {
    let words = text.split('`').skip(1).step_by(2);
    let is_action = |word: &&str| word.ends_with("Item") || ["Query", "Scan"].contains(word);
    words.filter(is_action).map(str::to_owned).collect()
}

/// Returns the actions of each row of the page by the row's first cell.
fn rows() -> BTreeMap<String, BTreeSet<String>> {
    let rows = section().lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        let [commands, needed] = [cells.next(), cells.next()].map(Option::unwrap);
        let mut found = actions(needed);
        if needed.contains("the second statement") {
            found.extend(policy()[1].clone());
        }
        (commands.trim().to_owned(), found)
    })
    .collect()
}

struct Scene {
    service: Service,
    admin: Admin,
}

/// Returns the command with these settings of the functions.
fn admin_with(service: &Service, variables: &HashMap<String, String>) -> Admin {
    let env = Environment::of(variables.clone());
    admin_of(service)
        .with_clock(service.time.clock())
        .with_variables(variables.clone())
        .with_migrations(NAME_INTO_PROFILE)
        .with_keys_table(service.table(TABLES[1]), env)
}

impl Scene {
    async fn start() -> Self {
        let settings = [
            ("LINK_BY_VERIFIED_EMAIL", "link"),
            ("LINK_EMAIL_PROVIDERS", "github"),
        ];
        let service = Service::start_with(&settings).await;
        let admin = admin_with(&service, &service.variables);
        Self { service, admin }
    }

    /// Runs the commands, and returns the actions that their calls need. Those of a transaction are those of its items.
    async fn needed(&self, admin: &Admin, commands: &[&[&str]]) -> Actions {
        self.service.dynamodb.clear();
        for command in commands {
            let (written, done) = run_to_its_end(admin, command).await;
            assert!(done.is_ok(), "{command:?}: {done:?}\n{written}");
        }
        let tables = TABLES.map(|table| self.service.table(table));
        let mut needed = Actions::default();
        for call in self.service.dynamodb.calls() {
            for (table, action, _) in needs(call.operation.as_deref().unwrap(), &call.body) {
                let nth = tables.iter().position(|name| *name == table).unwrap();
                needed[nth].insert(action);
            }
        }
        needed
    }
}

#[tokio::test]
async fn t205_each_command_of_the_operator_needs_the_permissions_that_the_page_names_and_no_more() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let id = service.sign_in("octocat").await.text("/user/id").to_owned();
    let id = id.as_str();
    let deleted = service.sign_in("hubot").await.text("/user/id").to_owned();
    // For the migration, which writes the users anew.
    age(service, "Earlier Name");
    let imported = json!({ "identities": ["github:101"] }).to_string();
    let [imported, clients] = [imported, service.variables["CLIENTS"].clone()].map(file_of);
    let provider = json!({ "name": "github", "client_id": "a", "client_secret": "b" });
    let provider = file_of(provider.to_string());
    let keys = service.key_store().find_set().await.unwrap().unwrap();
    let kid = &*keys.keys[0].kid;
    let cases: [(&str, &[&[&str]]); 8] = [
        (
            "`users list`",
            &[
                &["users", "list"],
                &["users", "find", id],
                &["users", "find", "octocat@example.com"],
                &["users", "show", id],
                &["users", "export", id],
            ],
        ),
        (
            "`users roles`",
            &[
                &["users", "roles", id, "--add", "admin"],
                &["users", "claims", id, "--set", "plan=pro"],
                &["users", "disable", id],
                &["users", "enable", id],
                &["users", "sign-out", id],
                &["users", "sign-out", "--all", "--yes"],
            ],
        ),
        ("`users delete`", &[&["users", "delete", "--yes", &deleted]]),
        ("`migrate`", &[&["migrate", "--dry-run"], &["migrate"]]),
        (
            "`clients`",
            &[
                &["clients", "import", "--file", clients.path()],
                &["clients", "list"],
                &["providers", "set", "--file", provider.path()],
                &["providers", "list"],
            ],
        ),
        ("`users import`", &[&["users", "import", imported.path()]]),
        ("`keys list`", &[&["keys", "list"]]),
        (
            "`keys rotate`",
            &[&["keys", "revoke", kid, "--yes"], &["keys", "rotate"]],
        ),
    ];
    // An import reads the providers from the table, where the settings say so.
    let mut variables = service.variables.clone();
    variables.retain(|name, _| !Group::Providers.settings().contains(&name.as_str()));
    variables.insert("PROVIDERS".to_owned(), "table".to_owned());
    let importer = admin_with(service, &variables);
    let mut rows = rows();
    let allowed = policy();
    let mut all = Actions::default();
    for (first, commands) in cases {
        let admin = match first {
            "`users import`" => &importer,
            _ => &scene.admin,
        };
        let mut needed = scene.needed(admin, commands).await;
        let of_row = rows.keys().find(|row| row.starts_with(first)).cloned();
        let row = of_row.unwrap_or_else(|| panic!("no row of {first}"));
        let documented = rows.remove(&row).unwrap();
        for (nth, needed) in needed.iter().enumerate() {
            assert!(
                needed.is_subset(&allowed[nth]),
                "{row}: {needed:?} on {}",
                TABLES[nth]
            );
        }
        // The page says so itself: without this one, there is no total.
        needed[0].remove("DescribeTable");
        let together: BTreeSet<String> = needed.iter().flatten().cloned().collect();
        assert_eq!(together, documented, "{row}");
        for (all, needed) in all.iter_mut().zip(needed) {
            all.extend(needed);
        }
    }

    assert_eq!(rows, BTreeMap::new(), "a row without a case");
    all[0].insert("DescribeTable".to_owned());
    assert_eq!(all, allowed);
}
