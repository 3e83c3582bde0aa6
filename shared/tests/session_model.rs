//! A model checker explores all orders of steps of clients, servers, the table and a thief, within the bounds of each
//! test. The model uses the real [`decide`], a table with atomic writes, servers that crash, answers that are lost,
//! late or repeated, and clocks that differ.
//!
//! To print the number of states, run `cargo test -p shared --test session_model -- --nocapture`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use serde_json::json;
use shared::{
    clock::Timestamp,
    sessions::{
        Decision, Nonce, Presented, SecretHash, SessionId, SessionRef, SessionState, decide,
    },
    users::User,
};
use stateright::{Checker, HasDiscoveries, Model, Property};

const CLIENT: &str = "nextjs";
const START: u64 = 1_000;
const TICK: u64 = 40;
const IDLE: u64 = 2 * TICK;
const ABSOLUTE: u64 = 3 * TICK;
/// The largest error of the servers' clocks, in seconds, in both directions.
const SKEW: i64 = 5;
/// The same for clocks that are off by more than a step of the model's time.
const FAR_OFF: i64 = TICK as i64 + 5;

const NOBODY_LOGGED_OUT: &str = "a legitimate client is never logged out";
const NO_TWO_SUCCESSORS: &str = "no token has two successors, and no subject token two sessions";
const NOTHING_COMES_BACK: &str = "what ended stays so";
const REUSE_ENDS: &str = "a token whose successor was used ends the session";
const EXPIRY_HOLDS: &str = "an expired session is not refreshed";
const NOT_MUCH_LATER: &str = "no session outlives its end by more than the clocks differ";
const KEPT_STAYS: &str = "the session that a sign-out keeps is not logged out";

type Admits = fn(&User, SessionRef) -> bool;

type Decide = fn(&Presented, &SessionState, Timestamp, Option<Duration>) -> Decision;

/// A secret, represented by the nonces from which it is derived: that of the exchange and those of later rotations.
type Secret = Vec<u8>;

fn hash(secret: &[u8]) -> SecretHash {
    let mut hash = [0; 32];
    hash[..secret.len()].copy_from_slice(secret);
    hash[31] = u8::try_from(secret.len()).unwrap() + 1;
    SecretHash(hash)
}

fn generation(secret: &Secret) -> u32 {
    u32::try_from(secret.len()).unwrap() - 1
}

/// The ids of the sessions.
static IDS: LazyLock<[SessionId; 2]> = LazyLock::new(|| {
    ["first", "second"].map(|token| SessionId::of_subject_token(&token.to_owned().into()))
});
/// A user who never signed out.
static USER: LazyLock<User> = LazyLock::new(|| {
    serde_json::from_value(json!({
        "id": "01a208bb-db28-776e-8b0c-7dfd69859e79", "status": "active", "profile": {}, "identities": {},
        "session_version": 0, "created_at": 0,
    }))
    .unwrap()
});

/// The members of the user's item that decide about sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Stamp {
    version: u8,
    /// The session that the last sign-out kept.
    kept: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Session {
    stored: Option<SessionState>,
    /// The user's version at the start.
    version: u8,
    /// The real time of the start.
    opened_at: Timestamp,
    app: Option<Secret>,
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    /// A request of the app that can store its result.
    App,
    /// A request that cannot store its result, such as a rendering of a server component.
    Renderer,
    /// A thief with a copy of a token and the credentials of the client.
    Thief,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Outcome {
    /// The successor of the token.
    Token(Secret),
    Refused,
    /// Reuse was detected, and the session is not ended yet.
    MustEnd,
    Reused,
}

/// A request on its way, at a server, or on its way back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    who: Who,
    session: usize,
    /// The refresh token; `None` for an exchange.
    token: Option<Secret>,
    nonce: u8,
    /// True if its sender still waits for the answer.
    is_awaited: bool,
    /// True if it began after a client was told that the session has ended.
    is_late: bool,
    /// The user, after its read.
    user: Option<Stamp>,
    /// True if its conditional write was applied without an answer and is sent again.
    is_repeated: bool,
    outcome: Option<Outcome>,
}

/// Observations on the path to this state. The first ones must never occur, the others must be possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    app_refused: bool,
    late_success: bool,
    old_token_accepted: bool,
    reused_but_alive: bool,
    accepted_after_expiry: bool,
    accepted_much_later: bool,
    kept_refused: bool,
    kept_refreshed: bool,
    rotation: bool,
    repetition: bool,
    own_write_found: bool,
    reuse: bool,
    refused_after_expiry: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    sessions: Vec<Session>,
    user: Stamp,
    now: Timestamp,
    requests: Vec<Request>,
    thief: Option<Secret>,
    app_sends: u8,
    thief_sends: u8,
    /// Each token with all successors that were returned for it; first tokens succeed the subject token.
    given: BTreeSet<(usize, Secret, Secret)>,
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Exchange(Who, usize),
    Refresh(Who, usize),
    Copy,
    ReadUser(usize),
    /// The conditional write, and the decision if it fails. A server without an answer sends the write again.
    Write {
        request: usize,
        is_heard: bool,
        skew: i64,
    },
    End(usize),
    Answer(usize),
    /// A crash, or a lost request or answer.
    Lose(usize),
    /// The sender stops waiting; the request goes on.
    GiveUp(usize),
    Revoke(usize),
    SignOutEverywhere,
    /// Signs out of all sessions except this one.
    SignOutElsewhere(usize),
    Tick,
}

/// The bounds and the events of one exploration.
#[derive(Clone)]
struct Walk {
    decide: Decide,
    admits: Admits,
    /// The number of sessions; the thief is after the first one.
    sessions: usize,
    /// The number of requests of the app.
    app_sends: u8,
    /// The largest number of requests at a time.
    at_once: usize,
    thief_sends: u8,
    /// True if the app uses a token only after its requests with an earlier one have reached the table or are lost.
    is_patient: bool,
    has_endings: bool,
    ticks: u64,
    skew: i64,
}

impl Walk {
    fn new(decide: Decide, app_sends: u8, at_once: usize) -> Self {
        Self {
            decide,
            admits: User::admits,
            sessions: 1,
            app_sends,
            at_once,
            thief_sends: 0,
            is_patient: true,
            has_endings: false,
            ticks: 0,
            skew: SKEW,
        }
    }

    /// Returns whether the user, as read, admits the session.
    fn admits(&self, user: Stamp, session: usize, version: u8) -> bool {
        let mut read = USER.clone();
        read.session_version = user.version.into();
        read.kept_session = user.kept.map(|kept| IDS[kept]);
        let session = SessionRef {
            id: IDS[session],
            version: version.into(),
        };
        (self.admits)(&read, session)
    }

    /// Applies the write of a request to the table, and the outcome to the server.
    fn write(&self, world: &mut World, nth: usize, is_heard: bool, skew: i64) {
        let now = world.now.saturating_add_signed(skew);
        let outcome = match world.requests[nth].token.clone() {
            None => self.exchange(world, nth, now),
            Some(token) => self.refresh(world, nth, &token, now),
        };
        let request = &mut world.requests[nth];
        if is_heard {
            request.outcome = Some(outcome);
        } else {
            request.is_repeated = true;
        }
    }

    fn refresh(&self, world: &mut World, nth: usize, token: &Secret, now: Timestamp) -> Outcome {
        let nonce = world.requests[nth].nonce;
        let session = world.requests[nth].session;
        let last_end = world.sessions[session].opened_at + ABSOLUTE + 2 * self.skew.unsigned_abs();
        let is_much_later = world.now >= last_end;
        let Some(stored) = &mut world.sessions[session].stored else {
            return Outcome::Refused;
        };
        let presented = Presented {
            client_id: CLIENT.to_owned(),
            family: hash(&token[..1]),
            generation: generation(token),
            secret: hash(token),
        };
        let is_old = presented.generation + 1 < stored.generation;
        let is_expired = now >= stored.idle_until.min(stored.absolute_until);
        let successor = |nonce: u8| [token.as_slice(), &[nonce]].concat();
        let outcome = match (self.decide)(&presented, stored, now, None) {
            Decision::Rotate => {
                let next = successor(nonce);
                stored.previous = Some(stored.current);
                stored.current = hash(&next);
                stored.generation += 1;
                stored.nonce = Nonce([nonce; 32]);
                stored.refreshed_at = now;
                stored.idle_until = now + IDLE;
                world.seen.rotation = true;
                Outcome::Token(next)
            }
            Decision::Repeat(stored_nonce) => {
                world.seen.repetition = true;
                world.seen.own_write_found |= stored_nonce.0[0] == nonce;
                Outcome::Token(successor(stored_nonce.0[0]))
            }
            Decision::Refuse => Outcome::Refused,
            Decision::End => Outcome::MustEnd,
        };
        let is_accepted = matches!(outcome, Outcome::Token(_));
        world.seen.old_token_accepted |= is_accepted && is_old;
        world.seen.accepted_after_expiry |= is_accepted && is_expired;
        world.seen.accepted_much_later |= is_accepted && is_much_later;
        world.seen.refused_after_expiry |= !is_accepted && is_expired;
        outcome
    }

    /// Returns whether the app may begin a request with its token.
    fn may_refresh(&self, world: &World, session: usize) -> bool {
        let Some(held) = &world.sessions[session].app else {
            return false;
        };
        let is_straggler = |request: &Request| {
            let length = request.token.as_ref().map_or(0, Vec::len);
            let is_of_the_app = request.session == session && request.who != Who::Thief;
            request.outcome.is_none() && is_of_the_app && length < held.len()
        };
        !self.is_patient || !world.requests.iter().any(is_straggler)
    }

    /// Puts the session once; a later exchange gets it again or is refused.
    fn exchange(&self, world: &mut World, nth: usize, now: Timestamp) -> Outcome {
        let request = &world.requests[nth];
        let user = request.user.unwrap_or_default();
        let session = &mut world.sessions[request.session];
        match &session.stored {
            None => {
                let secret = vec![request.nonce];
                // An exchange reads its user before it writes.
                session.version = user.version;
                session.opened_at = world.now;
                session.stored = Some(SessionState {
                    client_id: CLIENT.to_owned(),
                    family: hash(&secret),
                    generation: 0,
                    current: hash(&secret),
                    previous: None,
                    nonce: Nonce([request.nonce; 32]),
                    refreshed_at: now,
                    idle_until: now + IDLE,
                    absolute_until: now + ABSOLUTE,
                    is_ended: false,
                });
                Outcome::Token(secret)
            }
            Some(stored)
                if stored.opens_again(CLIENT, now)
                    && self.admits(user, request.session, session.version) =>
            {
                Outcome::Token(vec![stored.nonce.0[0]])
            }
            Some(_) => Outcome::Refused,
        }
    }

    /// A server answers, and the sender may receive it.
    fn answer(&self, world: &mut World, nth: usize) {
        let request = world.requests.remove(nth);
        let session = &mut world.sessions[request.session];
        let is_exchange = request.token.is_none();
        let is_admitted = is_exchange
            || request
                .user
                .is_some_and(|user| self.admits(user, request.session, session.version));
        let is_kept = world.user.kept == Some(request.session) && !session.is_over;
        match request.outcome {
            Some(Outcome::Token(next)) if is_admitted => {
                world.seen.kept_refreshed |= is_kept && !is_exchange;
                let token = request.token.unwrap_or_default();
                world.given.insert((request.session, token, next.clone()));
                world.seen.late_success |= request.is_late;
                let (held, stores) = match request.who {
                    Who::App => (&mut session.app, request.is_awaited),
                    Who::Renderer => (&mut session.app, false),
                    Who::Thief => (&mut world.thief, true),
                };
                let is_newer = held.as_ref().is_none_or(|held| held.len() < next.len());
                if stores && is_newer {
                    *held = Some(next);
                }
            }
            outcome => {
                if outcome == Some(Outcome::Reused) {
                    session.is_over = true;
                    world.seen.reuse = true;
                    let is_alive = session
                        .stored
                        .as_ref()
                        .is_some_and(|stored| !stored.is_ended);
                    world.seen.reused_but_alive |= is_alive;
                }
                let is_of_the_app = request.is_awaited && request.who != Who::Thief;
                world.seen.app_refused |= is_of_the_app;
                world.seen.kept_refused |= is_of_the_app && is_kept;
            }
        }
    }
}

impl World {
    fn send(&mut self, who: Who, session: usize, token: Option<Secret>) {
        match who {
            Who::Thief => self.thief_sends += 1,
            Who::App | Who::Renderer => self.app_sends += 1,
        }
        self.requests.push(Request {
            who,
            session,
            token,
            // Each request has a different one.
            nonce: self.app_sends + self.thief_sends,
            is_awaited: true,
            is_late: self.sessions[session].is_over,
            user: None,
            is_repeated: false,
            outcome: None,
        });
    }

    fn end(&mut self, session: usize) {
        if let Some(stored) = &mut self.sessions[session].stored {
            stored.is_ended = true;
        }
    }

    /// Ends the sessions that are open, except the kept one.
    fn sign_out(&mut self, kept: Option<usize>) {
        self.user.version += 1;
        self.user.kept = kept;
        for (nth, session) in self.sessions.iter_mut().enumerate() {
            session.is_over |= session.stored.is_some() && kept != Some(nth);
        }
    }
}

impl Model for Walk {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            sessions: vec![Session::default(); self.sessions],
            user: Stamp::default(),
            now: START,
            requests: Vec::new(),
            thief: None,
            app_sends: 0,
            thief_sends: 0,
            given: BTreeSet::new(),
            seen: Seen::default(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let has_room = world.requests.len() < self.at_once;
        if has_room && world.app_sends < self.app_sends && !world.seen.app_refused {
            for (nth, session) in world.sessions.iter().enumerate() {
                if session.app.is_none() {
                    actions.push(Action::Exchange(Who::App, nth));
                }
                if self.may_refresh(world, nth) {
                    actions.push(Action::Refresh(Who::App, nth));
                    actions.push(Action::Refresh(Who::Renderer, nth));
                }
            }
        }
        if self.thief_sends > 0 && world.thief.is_none() && world.sessions[0].app.is_some() {
            actions.push(Action::Copy);
        }
        if has_room && world.thief_sends < self.thief_sends {
            // The provider's token may have been copied as well.
            actions.push(Action::Exchange(Who::Thief, 0));
            if world.thief.is_some() {
                actions.push(Action::Refresh(Who::Thief, 0));
            }
        }
        for (nth, request) in world.requests.iter().enumerate() {
            let has_read = request.user.is_some();
            if !has_read {
                actions.push(Action::ReadUser(nth));
            }
            match &request.outcome {
                None if request.token.is_some() || has_read => {
                    let skews = if self.ticks > 0 {
                        &[-self.skew, self.skew][..]
                    } else {
                        &[0]
                    };
                    for skew in skews {
                        let heard = if request.is_repeated {
                            &[true][..]
                        } else {
                            &[true, false]
                        };
                        actions.extend(heard.iter().map(|is_heard| Action::Write {
                            request: nth,
                            is_heard: *is_heard,
                            skew: *skew,
                        }));
                    }
                }
                Some(Outcome::MustEnd) => actions.push(Action::End(nth)),
                Some(_) if has_read => actions.push(Action::Answer(nth)),
                _ => {}
            }
            actions.push(Action::Lose(nth));
            if request.is_awaited && request.who == Who::App {
                actions.push(Action::GiveUp(nth));
            }
        }
        let mut is_signed_in = false;
        for (nth, session) in world.sessions.iter().enumerate() {
            if !self.has_endings || session.stored.is_none() || session.is_over {
                continue;
            }
            actions.push(Action::Revoke(nth));
            if self.admits(world.user, nth, session.version) {
                is_signed_in = true;
                if self.sessions > 1 && world.user.version < 2 {
                    actions.push(Action::SignOutElsewhere(nth));
                }
            }
        }
        if is_signed_in {
            actions.push(Action::SignOutEverywhere);
        }
        if world.now < START + self.ticks * TICK {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Exchange(who, session) => world.send(who, session, None),
            Action::Refresh(Who::Thief, session) => {
                world.send(Who::Thief, session, world.thief.clone());
            }
            Action::Refresh(who, session) => {
                world.send(who, session, world.sessions[session].app.clone());
            }
            Action::Copy => world.thief.clone_from(&last.sessions[0].app),
            Action::ReadUser(nth) => {
                world.requests[nth].user = Some(world.user);
            }
            Action::Write {
                request,
                is_heard,
                skew,
            } => self.write(&mut world, request, is_heard, skew),
            Action::End(nth) => {
                world.end(world.requests[nth].session);
                world.requests[nth].outcome = Some(Outcome::Reused);
            }
            Action::Answer(nth) => self.answer(&mut world, nth),
            Action::Lose(nth) => {
                world.requests.remove(nth);
            }
            Action::GiveUp(nth) => world.requests[nth].is_awaited = false,
            Action::Revoke(session) => {
                world.end(session);
                world.sessions[session].is_over = true;
            }
            Action::SignOutEverywhere => world.sign_out(None),
            Action::SignOutElsewhere(session) => world.sign_out(Some(session)),
            Action::Tick => world.now += TICK,
        }
        // The order of the list of requests is irrelevant.
        world.requests.sort();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NO_TWO_SUCCESSORS, |_, world: &World| {
                let given = world.given.iter();
                let tokens: BTreeSet<_> =
                    given.map(|(session, token, _)| (session, token)).collect();
                tokens.len() == world.given.len()
            }),
            Property::always(NOTHING_COMES_BACK, |_, world: &World| {
                !world.seen.late_success
            }),
            Property::always(REUSE_ENDS, |_, world: &World| {
                !world.seen.old_token_accepted && !world.seen.reused_but_alive
            }),
            Property::always(EXPIRY_HOLDS, |_, world: &World| {
                !world.seen.accepted_after_expiry
            }),
            Property::sometimes("a token is rotated", |_, world: &World| world.seen.rotation),
            Property::sometimes("a token is repeated", |_, world: &World| {
                world.seen.repetition
            }),
            Property::sometimes(
                "a write that was sent twice finds itself",
                |_, world: &World| world.seen.own_write_found,
            ),
        ];
        // Without a thief, a revocation or a timeout, the app must never be refused.
        if self.thief_sends == 0 && !self.has_endings && self.ticks == 0 {
            properties.push(Property::always(NOBODY_LOGGED_OUT, |_, world: &World| {
                !world.seen.app_refused
            }));
        }
        if self.thief_sends > 0 {
            properties.push(Property::sometimes(
                "reuse is detected",
                |_, world: &World| world.seen.reuse,
            ));
        }
        if self.has_endings {
            properties.push(Property::sometimes(
                "a user signs out",
                |_, world: &World| world.user.version > 0,
            ));
        }
        if self.sessions > 1 {
            properties.push(Property::always(KEPT_STAYS, |_, world: &World| {
                !world.seen.kept_refused
            }));
            properties.push(Property::sometimes(
                "a session that was kept is refreshed",
                |_, world: &World| world.seen.kept_refreshed,
            ));
        }
        if self.ticks > 0 {
            properties.push(Property::always(NOT_MUCH_LATER, |_, world: &World| {
                !world.seen.accepted_much_later
            }));
            properties.push(Property::sometimes(
                "a session expires",
                |_, world: &World| world.seen.refused_after_expiry,
            ));
        }
        properties
    }
}

/// Explores all states and asserts that all properties hold.
fn walk(name: &str, walk: Walk, at_least: usize) {
    let checker = walk.checker().threads(2).spawn_bfs().join();
    let count = checker.unique_state_count();
    println!("{name}: {count} states, {} steps deep", checker.max_depth());
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(count >= at_least, "this walk proves too little");
}

/// Explores until a property fails, and asserts that it is this one.
fn finds(property: &'static str, walk: Walk) {
    let checker = walk.checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AllOf([property].into()));
    let checker = checker.spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{property}");
}

#[test]
fn t34_t39_nobody_is_logged_out_by_parallel_repeated_lost_or_late_requests() {
    walk("the app alone", Walk::new(decide, 4, 3), 100_000);
}

#[test]
fn t35_t36_a_copy_that_falls_behind_ends_the_session() {
    let with_thief = Walk {
        thief_sends: 2,
        ..Walk::new(decide, 3, 2)
    };
    walk("an app and a thief", with_thief, 500_000);
}

#[test]
fn t41_t43_what_was_revoked_or_signed_out_stays_so() {
    let with_endings = Walk {
        has_endings: true,
        ..Walk::new(decide, 4, 2)
    };
    walk("revocation and sign-out", with_endings, 100_000);
}

fn two_sessions(app_sends: u8, at_once: usize) -> Walk {
    Walk {
        sessions: 2,
        has_endings: true,
        ..Walk::new(decide, app_sends, at_once)
    }
}

#[test]
fn t41_t43_a_sign_out_of_the_other_sessions_ends_them_and_keeps_its_own() {
    walk("two sessions", two_sessions(3, 1), 150_000);
    walk("two sessions, in parallel", two_sessions(2, 2), 35_000);
}

#[test]
#[ignore = "takes many minutes: `make models`"]
fn all_properties_hold_for_two_sessions_within_larger_bounds() {
    walk("large: two sessions", two_sessions(3, 2), 1_000);
}

#[test]
#[ignore = "takes minutes: `make models`"]
fn all_properties_hold_within_larger_bounds() {
    let far_off = Walk {
        ticks: 6,
        skew: FAR_OFF,
        ..Walk::new(decide, 3, 2)
    };
    walk("large: clocks that are far off", far_off, 25_000);
}

#[test]
fn t40_an_expired_session_stays_so_although_clocks_differ() {
    let with_time = Walk {
        ticks: 4,
        ..Walk::new(decide, 3, 2)
    };
    walk("time", with_time, 300_000);
}

#[test]
fn t40_an_expired_session_stays_so_although_a_clock_is_far_off() {
    let far_off = Walk {
        ticks: 6,
        skew: FAR_OFF,
        ..Walk::new(decide, 2, 2)
    };
    walk("clocks that are far off", far_off, 25_000);
}

/// The counterexample without the assumption about the app: a request that reaches the table after the app has used
/// the successor of its token is indistinguishable from a thief's.
#[test]
fn a_straggler_that_arrives_after_its_successor_was_used_is_taken_for_a_thief() {
    let impatient = Walk {
        is_patient: false,
        ..Walk::new(decide, 4, 2)
    };
    finds(NOBODY_LOGGED_OUT, impatient);
}

/// Each guard is needed: without it, the checker finds a counterexample.
mod without_a_guard {
    use super::*;

    #[test]
    fn strict_rotation_logs_the_app_out() {
        let strict: Decide =
            |presented, stored, now, window| match decide(presented, stored, now, window) {
                Decision::Repeat(_) => Decision::End,
                decision => decision,
            };
        finds(NOBODY_LOGGED_OUT, Walk::new(strict, 3, 2));
    }

    #[test]
    fn a_session_that_ended_would_come_back() {
        let forgetful: Decide = |presented, stored, now, window| {
            let stored = SessionState {
                is_ended: false,
                ..stored.clone()
            };
            decide(presented, &stored, now, window)
        };
        let with_endings = Walk {
            has_endings: true,
            ..Walk::new(forgetful, 3, 2)
        };
        finds(NOTHING_COMES_BACK, with_endings);
    }

    #[test]
    fn a_copy_would_be_good_for_ever() {
        let lenient: Decide =
            |presented, stored, now, window| match decide(presented, stored, now, window) {
                Decision::End => Decision::Repeat(stored.nonce),
                decision => decision,
            };
        let with_thief = Walk {
            thief_sends: 2,
            ..Walk::new(lenient, 4, 2)
        };
        finds(REUSE_ENDS, with_thief);
    }

    #[test]
    fn a_token_would_have_two_successors() {
        let careless: Decide =
            |presented, stored, now, window| match decide(presented, stored, now, window) {
                Decision::Repeat(_) => Decision::Rotate,
                decision => decision,
            };
        finds(NO_TWO_SUCCESSORS, Walk::new(careless, 3, 2));
    }

    #[test]
    fn a_session_that_was_signed_out_elsewhere_would_go_on() {
        let two_sessions = Walk {
            sessions: 2,
            has_endings: true,
            admits: |_, _| true,
            ..Walk::new(decide, 3, 2)
        };
        finds(NOTHING_COMES_BACK, two_sessions);
    }

    #[test]
    fn the_session_that_signs_out_of_the_others_would_end() {
        let admits: Admits = |user, session| {
            let mut user = user.clone();
            user.kept_session = None;
            user.admits(session)
        };
        let two_sessions = Walk {
            sessions: 2,
            has_endings: true,
            admits,
            ..Walk::new(decide, 3, 2)
        };
        finds(KEPT_STAYS, two_sessions);
    }

    /// The decision without the expiry of sessions.
    const TIMELESS: Decide = |presented, stored, _, window| decide(presented, stored, 0, window);

    #[test]
    fn a_session_would_outlive_its_end_by_more_than_the_clocks_differ() {
        let far_off = Walk {
            ticks: 6,
            skew: FAR_OFF,
            ..Walk::new(TIMELESS, 3, 2)
        };
        finds(NOT_MUCH_LATER, far_off);
    }

    #[test]
    fn an_expired_session_would_go_on() {
        let with_time = Walk {
            ticks: 4,
            ..Walk::new(TIMELESS, 3, 2)
        };
        finds(EXPIRY_HOLDS, with_time);
    }
}
