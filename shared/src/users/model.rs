//! A model checker runs sign-ins, links, unlinks, sign-outs, deletions and the operator's changes in all orders of
//! their calls to DynamoDB, within the bounds of each test.
//!
//! The model has no decisions of its own: it runs [`Users`](super::Users) and the SDK up to the next calls
//! (`model/requests.rs`), and an embedded DynamoDB evaluates the conditions of each call (`model/table.rs`). A step is
//! one call that reaches the table. Requests crash between two calls, their clients repeat them, the answer of a write
//! is lost and the write is sent again, and reads that are not strongly consistent return the state before the last
//! write of their item.
//!
//! `make models` prints the number of states, and explores larger bounds as well.

mod interned;
mod requests;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use stateright::{Checker, HasDiscoveries, Model, Property};

use self::{
    interned::Id,
    requests::{Account, Does, Outcome, Requests},
    table::{Facts, Items, TRANSACTION, Table, Without},
};
use crate::{
    config::{AllowedSignUps, SameEmail, SignUps},
    ids::{SessionId, SessionRef},
    provider::{Email, EmailAnswer, Identity},
};

const ONE_OWNER: &str = "each identity and each address has one user, and both items agree";
const AN_IDENTITY: &str = "each user has an identity";
const NOTHING_LEFT: &str = "nothing of a deleted user comes back or opens anything";
const VERIFIED: &str = "only an address that is verified on both sides joins an identity to a user";
const OWN_ACCOUNT: &str = "a sign-in ends at an active user who has the identity";
const ONE_USE: &str =
    "a token of a provider works for one user, and opens no session after it linked";
const WHOLE: &str = "each item can be read";
const ALL: [&str; 7] = [
    ONE_OWNER,
    AN_IDENTITY,
    NOTHING_LEFT,
    VERIFIED,
    OWN_ACCOUNT,
    ONE_USE,
    WHOLE,
];

/// The number of runs of a request that is over before the walk.
const OVER: u8 = 9;

/// The state of the table and of all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    items: Items,
    /// The items before their last write, for reads that are not strongly consistent.
    before: BTreeMap<Id, Option<Id>>,
    slots: Vec<Slot>,
    /// The keys of deleted users.
    deleted: BTreeSet<Id>,
    /// The address that the last sign-in of each user proved.
    proven: BTreeMap<Id, Id>,
    /// The user for whom each token of a provider worked.
    used: BTreeMap<&'static str, Id>,
    /// The tokens that linked an account, each with its user.
    spent: BTreeMap<&'static str, Id>,
    lost: u8,
    crashed: u8,
    repeated: u8,
    /// The properties that do not hold.
    broken: BTreeSet<&'static str>,
}

/// A request and the number of times that it began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot {
    runs: u8,
    running: Option<Running>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Running {
    point: Id,
    /// A call whose answer was lost, and the answer if the write was applied.
    unheard: Option<(usize, Option<Id>)>,
    /// The active users who had the identity of the sign-in at some time since it began.
    owners: BTreeSet<Id>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Begin(usize),
    Call {
        of: usize,
        nth: usize,
        is_heard: bool,
        is_stale: bool,
    },
    Crash(usize),
}

/// The parts that all states share.
struct Memo {
    table: Table,
    requests: Requests,
    /// The outcomes of each request.
    outcomes: BTreeSet<(usize, String)>,
}

/// The bounds and the requests of one exploration.
struct Walk {
    does: Vec<Does>,
    /// The names of the requests.
    names: Vec<&'static str>,
    /// The largest number of requests at a time.
    at_once: usize,
    /// The number of lost answers.
    losses: u8,
    crashes: u8,
    /// The number of requests that are sent once more.
    repeats: u8,
    has_stale_reads: bool,
    trusted: Vec<String>,
    /// The keys of the identities of sign-ins.
    identities: Vec<Option<Id>>,
    first: World,
    memo: Mutex<Memo>,
}

impl Walk {
    fn new(same_email: SameEmail, without: Option<Without>) -> Self {
        let trusted = vec!["google".to_owned(), "github".to_owned()];
        let sign_ups = SignUps {
            allowed: AllowedSignUps::Everyone,
            same_email,
            email_providers: trusted.clone(),
        };
        Self {
            does: Vec::new(),
            names: Vec::new(),
            at_once: 2,
            losses: 0,
            crashes: 0,
            repeats: 0,
            has_stale_reads: false,
            trusted,
            identities: Vec::new(),
            first: World::default(),
            memo: Mutex::new(Memo {
                table: Table::new(),
                requests: Requests::new(sign_ups, without),
                outcomes: BTreeSet::new(),
            }),
        }
    }

    /// Adds a request.
    fn may(&mut self, name: &'static str, does: Does) {
        let key = match &does {
            Does::SignIn(identity, _) => Some(self.key_of(identity)),
            _ => None,
        };
        self.identities.push(key);
        self.does.push(does);
        self.names.push(name);
        self.first.slots.push(Slot {
            runs: 0,
            running: None,
        });
    }

    fn key_of(&self, identity: &Identity) -> Id {
        let key = format!("IDENTITY#{}|IDENTITY", identity.key().as_str());
        self.memo.lock().unwrap().table.keys.id(key)
    }

    /// Leaves out all requests except these.
    fn only(mut self, names: &[&str]) -> Self {
        for (slot, name) in self.first.slots.iter_mut().zip(&self.names) {
            if !names.contains(name) {
                slot.runs = OVER;
            }
        }
        self
    }

    /// Lets one request crash, the answer of one write be lost, and one request be sent again.
    fn with_crashes(mut self) -> Self {
        (self.crashes, self.losses, self.repeats) = (1, 1, 1);
        self
    }

    /// Carries out a request before the walk.
    fn after(&mut self, does: Does) -> Outcome {
        self.may("before", does);
        let nth = self.does.len() - 1;
        let mut world = self.first.clone();
        world = self.step(&world, Action::Begin(nth));
        while let Some(running) = &world.slots[nth].running {
            let calls = self
                .memo
                .lock()
                .unwrap()
                .requests
                .point(running.point)
                .calls
                .clone();
            let call = Action::Call {
                of: nth,
                nth: calls[0].0,
                is_heard: true,
                is_stale: false,
            };
            world = self.step(&world, call);
        }
        self.first = world;
        self.first.slots[nth].runs = OVER;
        let mut memo = self.memo.lock().unwrap();
        memo.outcomes.clear();
        memo.requests.last_outcome.clone().unwrap()
    }

    /// Signs `identity` in before the walk, which makes a user.
    fn user(&mut self, identity: Identity, token: &'static str) -> Account {
        let Outcome::SignedIn(user) = self.after(Does::SignIn(identity, token)) else {
            panic!("no sign-in");
        };
        let session = SessionRef {
            id: SessionId::of_subject_token(&token.to_owned().into()),
            version: 0,
        };
        Account { user, session }
    }

    /// Carries out one step.
    fn step(&self, last: &World, action: Action) -> World {
        let mut memo = self.memo.lock().unwrap();
        let mut world = last.clone();
        match action {
            Action::Begin(of) => {
                let slot = &mut world.slots[of];
                slot.runs += 1;
                world.repeated += slot.runs - 1;
                let Memo {
                    table, requests, ..
                } = &mut *memo;
                let point = requests.start((of, slot.runs), &self.does[of], table);
                slot.running = Some(Running {
                    point,
                    unheard: None,
                    owners: BTreeSet::new(),
                });
                self.note_owners(&mut world, &mut memo);
            }
            Action::Crash(of) => {
                world.slots[of].running = None;
                world.crashed += 1;
            }
            Action::Call {
                of,
                nth,
                is_heard,
                is_stale,
            } => self.call(&mut world, &mut memo, of, nth, is_heard, is_stale),
        }
        if world.items != last.items {
            judge(&mut world, &mut memo.table);
        }
        world
    }

    fn call(
        &self,
        world: &mut World,
        memo: &mut Memo,
        of: usize,
        nth: usize,
        is_heard: bool,
        is_stale: bool,
    ) {
        let running = world.slots[of].running.as_mut().unwrap();
        let point = running.point;
        let calls = &memo.requests.point(point).calls;
        let (_, request) = calls.iter().find(|(call, _)| *call == nth).unwrap();
        let request = *request;
        let repeated = running.unheard.take_if(|(call, _)| *call == nth);
        let answer = if let Some((_, Some(answer))) = repeated {
            // The idempotency token of a transaction that was applied.
            answer
        } else {
            let last = world.items.clone();
            if is_stale {
                for (key, item) in &world.before {
                    match item {
                        Some(item) => world.items.insert(*key, *item),
                        None => world.items.remove(key),
                    };
                }
            }
            let answer = memo.table.carry_out(request, &mut world.items);
            if is_stale {
                world.items = last;
            } else {
                self.note_write(world, memo, of, request, &last, answer);
            }
            answer
        };
        if !is_heard {
            world.lost += 1;
            let is_transaction = memo.table.requests.value(request).action == TRANSACTION;
            let is_applied = memo.table.answers.value(answer).status == 200;
            let running = world.slots[of].running.as_mut().unwrap();
            running.unheard = Some((nth, Some(answer).filter(|_| is_transaction && is_applied)));
            return;
        }
        let Memo {
            table, requests, ..
        } = memo;
        let next = requests.answer(point, nth, answer, &self.does[of], table);
        let running = world.slots[of].running.as_mut().unwrap();
        running.point = next;
        if let Some(outcome) = memo.requests.point(next).outcome.clone() {
            self.end(world, memo, of, outcome);
        }
    }

    /// Notes what a write means for the properties.
    fn note_write(
        &self,
        world: &mut World,
        memo: &mut Memo,
        of: usize,
        request: Id,
        last: &Items,
        answer: Id,
    ) {
        if *last == world.items {
            return;
        }
        let keys: BTreeSet<Id> = last.keys().chain(world.items.keys()).copied().collect();
        for key in keys {
            let (before, now) = (last.get(&key).copied(), world.items.get(&key).copied());
            if before == now {
                continue;
            }
            if self.has_stale_reads {
                world.before.insert(key, before);
            }
            if !memo.table.keys.value(key).ends_with("|USER") {
                continue;
            }
            if now.is_none() {
                world.deleted.insert(key);
                world.proven.remove(&key);
                continue;
            }
            match &self.does[of] {
                Does::SignIn(identity, _) => {
                    self.note_sign_in(world, memo, key, before, request, identity);
                }
                // Perhaps this provider proved the address.
                Does::Unlink(..) => {
                    world.proven.remove(&key);
                }
                _ => {}
            }
        }
        let is_transaction = memo.table.requests.value(request).action == TRANSACTION;
        if let Does::Link(account, _, token) = &self.does[of]
            && is_transaction
            && memo.table.answers.value(answer).status == 200
        {
            let user = memo.table.keys.id(format!("USER#{}|USER", account.user));
            world.spent.insert(token, user);
        }
        self.note_owners(world, memo);
    }

    /// Notes the write of a sign-in to a user's item: a new user, the profile of a known one, or an identity that
    /// joined the user.
    fn note_sign_in(
        &self,
        world: &mut World,
        memo: &mut Memo,
        user: Id,
        before: Option<Id>,
        request: Id,
        identity: &Identity,
    ) {
        let told = &identity.profile().email;
        let is_trusted = self.trusted.iter().any(|name| name == identity.provider());
        let address = match told {
            EmailAnswer::Some(email) if email.verified && is_trusted => {
                let hash = digest(&SHA256, email.address.as_bytes());
                let hash = URL_SAFE_NO_PAD.encode(hash);
                Some(memo.table.keys.id(format!("EMAIL#{hash}|EMAIL")))
            }
            _ => None,
        };
        let is_update = memo.table.requests.value(request).action == "UpdateItem";
        if before.is_none() || is_update {
            if *told != EmailAnswer::NotTold {
                match address {
                    Some(address) => world.proven.insert(user, address),
                    None => world.proven.remove(&user),
                };
            }
            return;
        }
        let key = format!("IDENTITY#{}|IDENTITY", identity.key().as_str());
        let key = memo.table.keys.id(key);
        let mut has = |item: Id| match &*memo.table.facts(user, item) {
            Facts::User { identities, .. } => identities.contains(&key),
            _ => false,
        };
        let has_joined = has(world.items[&user]) && !before.is_some_and(has);
        if has_joined && (address.is_none() || world.proven.get(&user) != address.as_ref()) {
            world.broken.insert(VERIFIED);
        }
    }

    /// Notes the present user of the identity of each sign-in.
    fn note_owners(&self, world: &mut World, memo: &mut Memo) {
        for (slot, key) in world.slots.iter_mut().zip(&self.identities) {
            let (Some(running), Some(key)) = (&mut slot.running, key) else {
                continue;
            };
            let Some(item) = world.items.get(key) else {
                continue;
            };
            let Facts::Owned(Some(user)) = *memo.table.facts(*key, *item) else {
                continue;
            };
            let item = world.items.get(&user).copied();
            let facts = item.map(|item| memo.table.facts(user, item));
            if let Some(Facts::User {
                is_active: true, ..
            }) = facts.as_deref()
            {
                running.owners.insert(user);
            }
        }
    }

    fn end(&self, world: &mut World, memo: &mut Memo, of: usize, outcome: Outcome) {
        let running = world.slots[of].running.take().unwrap();
        memo.outcomes.insert((of, outcome.to_string()));
        memo.requests.last_outcome = Some(outcome.clone());
        let token = match &self.does[of] {
            Does::SignIn(_, token) | Does::Link(_, _, token) => *token,
            Does::Delete(account) if outcome == Outcome::Done => {
                let user = memo.table.keys.id(format!("USER#{}|USER", account.user));
                if world.items.contains_key(&user) {
                    world.broken.insert(NOTHING_LEFT);
                }
                return;
            }
            _ => return,
        };
        let user = match (&outcome, &self.does[of]) {
            (Outcome::SignedIn(user), _) => *user,
            (Outcome::Done, Does::Link(account, ..)) => account.user,
            _ => return,
        };
        let user = memo.table.keys.id(format!("USER#{user}|USER"));
        let other = world.used.get(token).filter(|other| **other != user);
        if other.is_some_and(|other| world.items.contains_key(other)) {
            world.broken.insert(ONE_USE);
        }
        if matches!(outcome, Outcome::SignedIn(_)) {
            if !running.owners.contains(&user) {
                world.broken.insert(OWN_ACCOUNT);
            }
            let linked = world.spent.get(token);
            if linked.is_some_and(|user| world.items.contains_key(user)) {
                world.broken.insert(ONE_USE);
            }
        }
        world.used.insert(token, user);
    }
}

/// Checks the table.
fn judge(world: &mut World, table: &mut Table) {
    let facts: BTreeMap<Id, _> = world
        .items
        .iter()
        .map(|(key, item)| (*key, table.facts(*key, *item)))
        .collect();
    let fact = |key: &Id| facts.get(key).map(|facts| &**facts);
    let owner = |key: &Id| match fact(key) {
        Some(Facts::Owned(user)) => *user,
        _ => None,
    };
    let broken = &mut world.broken;
    for key in facts.keys() {
        match fact(key) {
            Some(Facts::Broken) => {
                broken.insert(WHOLE);
            }
            Some(Facts::User {
                identities, email, ..
            }) => {
                if world.deleted.contains(key) {
                    broken.insert(NOTHING_LEFT);
                }
                if identities.is_empty() {
                    broken.insert(AN_IDENTITY);
                }
                let mut named = identities.iter().chain(email);
                if !named.all(|item| owner(item) == Some(*key)) {
                    broken.insert(ONE_OWNER);
                }
            }
            Some(Facts::Owned(Some(user))) => match fact(user) {
                Some(Facts::User {
                    identities, email, ..
                }) => {
                    if !identities.contains(key) && *email != Some(*key) {
                        broken.insert(ONE_OWNER);
                    }
                }
                _ => {
                    broken.insert(NOTHING_LEFT);
                }
            },
            // A session opens nothing without its user.
            Some(Facts::Owned(None) | Facts::Session) | None => {}
        }
    }
}

impl Model for Walk {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // A state that breaks a property needs no successors.
        if !world.broken.is_empty() {
            return;
        }
        let running = world.slots.iter().filter(|slot| slot.running.is_some());
        let has_room = running.count() < self.at_once;
        let memo = self.memo.lock().unwrap();
        for (of, slot) in world.slots.iter().enumerate() {
            let Some(running) = &slot.running else {
                let may_begin = slot.runs == 0 || (slot.runs == 1 && world.repeated < self.repeats);
                if has_room && may_begin {
                    actions.push(Action::Begin(of));
                }
                continue;
            };
            for (nth, request) in &memo.requests.point(running.point).calls {
                let request = memo.table.requests.value(*request);
                let call = |is_heard, is_stale| Action::Call {
                    of,
                    nth: *nth,
                    is_heard,
                    is_stale,
                };
                actions.push(call(true, false));
                if self.has_stale_reads && request.may_be_stale() {
                    actions.push(call(true, true));
                }
                if !request.is_read() && world.lost < self.losses && running.unheard.is_none() {
                    actions.push(call(false, false));
                }
            }
            if world.crashed < self.crashes {
                actions.push(Action::Crash(of));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        Some(self.step(last, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds(name: &'static str) -> Property<Walk> {
            let condition: fn(&Walk, &World) -> bool = match name {
                ONE_OWNER => |_, world| !world.broken.contains(ONE_OWNER),
                AN_IDENTITY => |_, world| !world.broken.contains(AN_IDENTITY),
                NOTHING_LEFT => |_, world| !world.broken.contains(NOTHING_LEFT),
                VERIFIED => |_, world| !world.broken.contains(VERIFIED),
                OWN_ACCOUNT => |_, world| !world.broken.contains(OWN_ACCOUNT),
                ONE_USE => |_, world| !world.broken.contains(ONE_USE),
                _ => |_, world| !world.broken.contains(WHOLE),
            };
            Property::always(name, condition)
        }
        ALL.map(holds).into()
    }
}

/// Explores all states, and asserts that all properties hold and that each request has each of these outcomes on some
/// path.
fn walk(name: &str, walk: Walk, outcomes: &[(&str, &str)], at_least: usize) {
    let checker = walk.checker().spawn_bfs().join();
    let count = checker.unique_state_count();
    let memo = checker.model().memo.lock().unwrap();
    println!(
        "{name}: {count} states, {} steps deep; the functions ran {} times, the database {}",
        checker.max_depth(),
        memo.requests.runs,
        memo.table.runs,
    );
    let seen: BTreeSet<_> = memo
        .outcomes
        .iter()
        .map(|(of, outcome)| (checker.model().names[*of], outcome.as_str()))
        .collect();
    for outcome in outcomes {
        assert!(
            seen.contains(outcome),
            "{outcome:?} never occurs: {seen:#?}"
        );
    }
    drop(seen);
    drop(memo);
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(
        count >= at_least,
        "this walk proves too little: {count} states"
    );
}

/// Explores without one condition until a property fails, and asserts that it is this one.
fn finds(property: &'static str, walk: Walk) {
    let all = HasDiscoveries::AllOf([property].into());
    let checker = walk.checker().finish_when(all);
    let checker = checker.spawn_bfs().join();
    let memo = checker.model().memo.lock().unwrap();
    assert!(memo.requests.is_weakened, "no request has the condition");
    drop(memo);
    assert!(checker.discovery(property).is_some(), "{property}");
}

/// A person at a provider that tells no address.
fn person(provider: &str, name: &str) -> Identity {
    Identity::in_model(provider, name, EmailAnswer::NotTold)
}

/// A person with an address.
fn with_address(provider: &str, name: &str, address: &str, verified: bool) -> Identity {
    let address = address.to_owned();
    let email = EmailAnswer::Some(Email { address, verified });
    Identity::in_model(provider, name, email)
}

/// Alice has two accounts, unlinks both, signs in with both, and deletes herself.
fn account(without: Option<Without>) -> Walk {
    let mut model = Walk::new(SameEmail::Off, without);
    let alice = model.user(person("google", "alice"), "first");
    model.after(Does::Link(alice, person("github", "octocat"), "second"));
    model.may("unlink google", Does::Unlink(alice, "google"));
    model.may("unlink github", Does::Unlink(alice, "github"));
    model.may("google", Does::SignIn(person("google", "alice"), "third"));
    model.may(
        "github",
        Does::SignIn(person("github", "octocat"), "fourth"),
    );
    model.may("delete", Does::Delete(alice));
    model
}

/// Alice links an account that Bob links as well, that signs in by itself, and that the operator's changes meet.
fn strangers(without: Option<Without>) -> Walk {
    let mut model = Walk::new(SameEmail::Off, without);
    let alice = model.user(person("google", "alice"), "first");
    let bob = model.user(person("google", "bob"), "second");
    let octocat = || person("github", "octocat");
    model.may("alice links", Does::Link(alice, octocat(), "third"));
    model.may("bob links", Does::Link(bob, octocat(), "fourth"));
    model.may("sign in", Does::SignIn(octocat(), "fifth"));
    model.may("with the token of alice", Does::SignIn(octocat(), "third"));
    model.may("delete", Does::Delete(alice));
    model
}

/// The operator disables, enables and deletes a user who signs in, signs out and links.
fn operator(without: Option<Without>) -> Walk {
    let mut model = Walk::new(SameEmail::Off, without);
    let alice = model.user(person("google", "alice"), "first");
    model.may("sign in", Does::SignIn(person("google", "alice"), "second"));
    model.may("link", Does::Link(alice, person("github", "a"), "third"));
    model.may(
        "link another",
        Does::Link(alice, person("github", "b"), "fourth"),
    );
    model.may("sign out", Does::SignOut(alice));
    model.may("disable", Does::Disable(alice.user));
    model.may("enable", Does::Enable(alice.user));
    model.may("remove", Does::Remove(alice.user));
    model
}

/// Accounts with the same address, which their users change, give up and delete.
fn addresses(without: Option<Without>) -> Walk {
    let mut model = Walk::new(SameEmail::Link, without);
    let google = |address| with_address("google", "alice", address, true);
    let github = |verified| with_address("github", "octocat", "a@example.com", verified);
    let alice = model.user(google("a@example.com"), "first");
    model.may("the same address", Does::SignIn(github(true), "second"));
    model.may("unverified", Does::SignIn(github(false), "third"));
    let discord = with_address("discord", "wumpus", "a@example.com", true);
    model.may(
        "a provider that is not trusted",
        Does::SignIn(discord, "fourth"),
    );
    model.may(
        "another address",
        Does::SignIn(google("b@example.com"), "fifth"),
    );
    model.may("delete", Does::Delete(alice));
    model
}

/// Two users who take each other's address.
fn swap(without: Option<Without>) -> Walk {
    let mut model = Walk::new(SameEmail::Link, without);
    let at = |name, address| with_address("google", name, address, true);
    let alice = model.user(at("alice", "a@example.com"), "first");
    model.user(at("bob", "b@example.com"), "second");
    model.after(Does::Link(alice, person("github", "octocat"), "third"));
    model.may(
        "alice has b",
        Does::SignIn(at("alice", "b@example.com"), "fourth"),
    );
    model.may(
        "alice has c",
        Does::SignIn(at("alice", "c@example.com"), "fifth"),
    );
    model.may(
        "bob has a",
        Does::SignIn(at("bob", "a@example.com"), "sixth"),
    );
    model.may("unlink", Does::Unlink(alice, "google"));
    let carol = with_address("google", "carol", "a@example.com", true);
    model.may("carol", Does::SignIn(carol, "seventh"));
    model
}

/// Two first sign-ins with one address.
fn first_sign_ins(without: Option<Without>) -> Walk {
    let mut model = Walk::new(SameEmail::Link, without);
    let at = |provider, name| with_address(provider, name, "a@example.com", true);
    model.may("google", Does::SignIn(at("google", "alice"), "first"));
    model.may("github", Does::SignIn(at("github", "octocat"), "second"));
    model.may("google again", Does::SignIn(at("google", "alice"), "third"));
    model
}

#[test]
fn t60_t61_accounts_that_are_unlinked_and_deleted_keep_one_owner_in_all_orders() {
    let outcomes = [
        ("unlink google", "done"),
        (
            "unlink github",
            "this is the only way to sign in; link another account first",
        ),
        ("delete", "done"),
    ];
    let names = ["unlink google", "unlink github", "google", "delete"];
    walk("an account", account(None).only(&names), &outcomes, 6_000);
}

#[test]
fn t60_an_account_that_several_claim_gets_one_owner_in_all_orders() {
    let outcomes = [
        ("alice links", "done"),
        (
            "alice links",
            "this account already belongs to another user",
        ),
        (
            "with the token of alice",
            "the subject token was already exchanged; sign in again",
        ),
        ("delete", "done"),
    ];
    let names = [
        "alice links",
        "bob links",
        "with the token of alice",
        "delete",
    ];
    walk("strangers", strangers(None).only(&names), &outcomes, 2_800);
}

#[test]
fn t65_the_operators_changes_leave_nothing_of_a_deleted_user_in_all_orders() {
    let outcomes = [
        ("sign in", "the account is disabled"),
        ("link", "done"),
        ("remove", "done"),
    ];
    let names = ["sign in", "link", "disable", "remove"];
    walk(
        "the operator",
        operator(None).only(&names),
        &outcomes,
        6_000,
    );
}

#[test]
fn t57_only_a_verified_address_joins_an_account_in_all_orders() {
    let names = ["the same address", "another address", "delete"];
    let outcomes = [("delete", "done")];
    walk("addresses", addresses(None).only(&names), &outcomes, 4_500);
    let names = ["alice has b", "bob has a", "unlink", "carol"];
    let outcomes = [("unlink", "done")];
    walk(
        "addresses that move",
        swap(None).only(&names),
        &outcomes,
        5_500,
    );
    walk("first sign-ins", first_sign_ins(None), &[], 1_300);
}

#[test]
fn t60_t72_stale_reads_crashes_and_lost_answers_break_no_account() {
    let names = ["unlink google", "google", "delete"];
    let mut stale = account(None).only(&names);
    stale.has_stale_reads = true;
    walk("stale reads", stale, &[("delete", "done")], 3_500);
    let crashes = account(None).only(&["unlink google", "google"]);
    walk("crashes", crashes.with_crashes(), &[], 1_200);
    let crashes = first_sign_ins(None).only(&["google", "github"]);
    walk(
        "crashes of first sign-ins",
        crashes.with_crashes(),
        &[],
        2_500,
    );
}

/// All requests of each scenario, and more of them at a time.
#[test]
#[ignore = "takes minutes: `make models`"]
fn all_properties_hold_within_larger_bounds() {
    walk("large: an account", account(None), &[], 50_000);
    walk("large: strangers", strangers(None), &[], 30_000);
    walk("large: the operator", operator(None), &[], 6_000);
    walk("large: addresses", addresses(None), &[], 4_500);
    walk("large: addresses that move", swap(None), &[], 5_500);
    let mut three = first_sign_ins(None);
    three.at_once = 3;
    walk("large: three first sign-ins", three, &[], 1_000);
    let mut stale = account(None);
    stale.has_stale_reads = true;
    walk("large: stale reads", stale, &[], 3_500);
    let crashes = account(None).only(&["unlink google", "google", "delete"]);
    walk("large: crashes", crashes.with_crashes(), &[], 1_000);
    let crashes = addresses(None).only(&["the same address", "another address", "delete"]);
    walk(
        "large: crashes and addresses",
        crashes.with_crashes(),
        &[],
        1_000,
    );
}

/// Each condition is needed: without it, the checker finds an order in which a property fails.
mod without_a_condition {
    use super::*;

    const fn without(
        action: &'static str,
        key: &'static str,
        text: &'static str,
    ) -> Option<Without> {
        Some(Without {
            action,
            key,
            text,
            within: text,
        })
    }

    #[test]
    fn an_identity_would_have_two_users() {
        let claim = "attribute_not_exists(#pk) OR attribute_exists(#released_by)";
        finds(
            ONE_OWNER,
            strangers(without(TRANSACTION, "IDENTITY#", claim)).only(&["alice links", "bob links"]),
        );
    }

    #[test]
    fn a_second_account_of_a_provider_would_replace_the_first() {
        let room = "attribute_not_exists(#identities.#provider)";
        finds(
            ONE_OWNER,
            operator(without(TRANSACTION, "|USER", room)).only(&["link", "link another"]),
        );
    }

    #[test]
    fn the_last_account_would_be_unlinked() {
        let is_not_last = "size(#identities) > :one";
        finds(
            AN_IDENTITY,
            account(without(TRANSACTION, "|USER", is_not_last))
                .only(&["unlink google", "unlink github"]),
        );
    }

    #[test]
    fn an_identity_that_was_linked_meanwhile_would_outlive_its_user() {
        let count = "size(#identities) = :count";
        finds(
            NOTHING_LEFT,
            strangers(without(TRANSACTION, "|USER", count)).only(&["alice links", "delete"]),
        );
    }

    #[test]
    fn an_unlinked_account_would_sign_in() {
        let is_linked = "#identities.#provider.#key = :key";
        let stale = account(without("UpdateItem", "|USER", is_linked));
        let mut stale = stale.only(&["unlink google", "google"]);
        stale.has_stale_reads = true;
        finds(OWN_ACCOUNT, stale);
    }

    #[test]
    fn a_disabled_user_would_sign_in() {
        let stale = operator(without("UpdateItem", "|USER", "#status = :active"));
        let mut stale = stale.only(&["disable", "sign in"]);
        stale.has_stale_reads = true;
        finds(OWN_ACCOUNT, stale);
    }

    #[test]
    fn a_token_that_linked_an_account_would_open_a_session() {
        let is_new = "attribute_not_exists(#pk)";
        finds(
            ONE_USE,
            strangers(without("PutItem", "|SESSION#", is_new))
                .only(&["alice links", "with the token of alice"]),
        );
    }

    #[test]
    fn an_address_that_was_given_up_would_join() {
        let proven = "#profile.#proven_email = :email_key";
        finds(
            VERIFIED,
            addresses(without(TRANSACTION, "|USER", proven))
                .only(&["the same address", "another address"]),
        );
    }

    #[test]
    fn an_address_whose_account_was_unlinked_would_join() {
        let key = "#email_key = :email_key";
        let joins = without(TRANSACTION, "|USER", key).map(|without| Without {
            within: "#profile.#proven_email",
            ..without
        });
        finds(VERIFIED, swap(joins).only(&["unlink", "carol"]));
    }

    #[test]
    fn an_address_would_have_two_new_users() {
        let is_new = "attribute_not_exists(#pk)";
        finds(
            ONE_OWNER,
            first_sign_ins(without(TRANSACTION, "EMAIL#", is_new)).only(&["google", "github"]),
        );
    }

    #[test]
    fn a_user_would_take_the_address_of_another() {
        let is_free = "attribute_not_exists(#pk) OR #user_id = :user_id";
        finds(
            ONE_OWNER,
            swap(without(TRANSACTION, "EMAIL#", is_free)).only(&["alice has b"]),
        );
    }

    #[test]
    fn a_session_of_a_deleted_user_would_come_back_in_part() {
        finds(
            WHOLE,
            account(without("UpdateItem", "|SESSION#", "#nonce = :nonce"))
                .only(&["google", "delete"]),
        );
    }

    #[test]
    fn a_deleted_user_would_come_back_in_part() {
        let is_there = "attribute_exists(#pk)";
        let operator = operator(without("UpdateItem", "|USER", is_there));
        finds(WHOLE, operator.only(&["enable", "remove"]));
    }
}
