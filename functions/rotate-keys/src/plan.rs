//! The decision about the next change of the keys, a pure function of the set and the time.
//!
//! A key is published long before it signs, because readers cache the set: API Gateway for two hours, Cambio's
//! functions for a day while the table cannot be reached. There is always one spare key, so that a lost or stolen key
//! has a successor that every reader knows.
//!
//! With documents as files, a key has no turn before the files contain it, because S3 can fail until after the turn.

use std::time::Duration;

use shared::{
    clock::Timestamp,
    keys::{KeySet, KeyType, NO_TURN, PublishedKey},
};

/// The time between the publication of a key and its turn, unless the key before it cannot go on.
pub(crate) const PUBLISHED_AHEAD: Duration = Duration::from_hours(24);

/// The settings and the event of a run.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The type of new keys.
    pub(crate) key_type: KeyType,
    /// The time for which each key signs.
    pub(crate) ttl: Duration,
    /// True if the next key starts to sign as soon as every reader can know it.
    pub(crate) rotate_now: bool,
    /// The key to remove at once.
    pub(crate) revoke: Option<&'a str>,
    /// Keys that cannot sign, because their private keys are lost.
    pub(crate) lost: &'a [String],
    /// The `kid`s in the files; `None` without files.
    pub(crate) in_files: Option<&'a [String]>,
}

impl Wanted<'_> {
    /// Returns whether `key` waits for the files.
    fn holds_back(&self, key: &PublishedKey) -> bool {
        let is_missing = |names: &[String]| !names.contains(&key.kid);
        !key.has_turn() && self.in_files.is_some_and(is_missing)
    }
}

/// The next state of the keys.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// The keys that stay, with their new times.
    pub(crate) keys: Vec<PublishedKey>,
    /// The turn of each key to make; [`NO_TURN`] if it waits for the files.
    pub(crate) make: Vec<Timestamp>,
    /// The `kid`s of the keys to remove.
    pub(crate) remove: Vec<String>,
}

impl Plan {
    /// Returns the next state of `set` at `now`.
    pub(crate) fn new(set: &KeySet, wanted: &Wanted<'_>, now: Timestamp) -> Self {
        let verifying: Vec<&str> = set.published(now).map(|key| &*key.kid).collect();
        let mut plan = Self {
            keys: set.keys.clone(),
            make: Vec::new(),
            remove: Vec::new(),
        };
        plan.remove(|key| !verifying.contains(&&*key.kid));
        plan.remove(|key| wanted.revoke == Some(&*key.kid));
        plan.remove(|key| key.sign_from > now && wanted.lost.contains(&key.kid));
        plan.remove(|key| !key.has_turn() && key.key_type != wanted.key_type);
        let mut held_back = plan.keys.clone();
        held_back.retain(|key| wanted.holds_back(key));

        let signs_since = match set.current(now) {
            Some(key) if plan.keys.contains(key) && !wanted.lost.contains(&key.kid) => {
                key.sign_from
            }
            _ => {
                // After the turn of the lost key, because two turns in the same second have no order.
                let turns = plan.keys.iter().map(|key| key.sign_from);
                let last = turns.filter(|turn| *turn <= now).max();
                let turn = last.map_or(now, |last| now.max(last + 1));
                match plan.next(now) {
                    Some(next) => next.sign_from = turn,
                    None => plan.give(turn, &mut held_back, wanted, now),
                }
                turn
            }
        };

        // Last: without an alternative, a key of the wrong type is better than an unpublished one.
        plan.remove(|key| key.sign_from > now && key.key_type != wanted.key_type);
        let mut due = signs_since + wanted.ttl.as_secs();
        if let Some(next) = plan.next(now) {
            // After the turn of the current key, because two turns in the same second have no order.
            let soonest = now
                .max(signs_since + 1)
                .max(next.published_at + PUBLISHED_AHEAD.as_secs());
            let turn = if wanted.rotate_now {
                soonest
            } else {
                due.max(soonest)
            };
            // Never later than before, because an operator may have requested the earlier turn.
            next.sign_from = next.sign_from.min(turn);
            due = next.sign_from + wanted.ttl.as_secs();
        }
        if plan.next(now).is_none() {
            let turn = due.max(now + PUBLISHED_AHEAD.as_secs());
            plan.give(turn, &mut held_back, wanted, now);
        }
        plan
    }

    /// Returns whether the plan differs from `set`.
    pub(crate) fn changes(&self, set: &KeySet) -> bool {
        !self.make.is_empty() || self.keys != set.keys
    }

    fn remove(&mut self, goes: impl Fn(&PublishedKey) -> bool) {
        let (gone, stays) = std::mem::take(&mut self.keys).into_iter().partition(goes);
        let gone: Vec<PublishedKey> = gone;
        self.keys = stays;
        self.remove.extend(gone.into_iter().map(|key| key.kid));
    }

    /// Gives `turn` to a key without a turn, or else to a new key.
    fn give(
        &mut self,
        turn: Timestamp,
        held_back: &mut Vec<PublishedKey>,
        wanted: &Wanted<'_>,
        now: Timestamp,
    ) {
        let mut free = self.keys.iter_mut().filter(|key| !key.has_turn());
        if let Some(key) = free.find(|key| !wanted.holds_back(key)) {
            (key.published_at, key.sign_from) = (now, turn);
        } else if held_back.pop().is_none() {
            let waits = wanted.in_files.is_some();
            self.make.push(if waits { NO_TURN } else { turn });
        }
        // A waiting key gets its turn as soon as the files contain it.
    }

    fn next(&mut self, now: Timestamp) -> Option<&mut PublishedKey> {
        let ahead = self
            .keys
            .iter_mut()
            .filter(|key| key.sign_from > now && key.has_turn());
        ahead.min_by_key(|key| key.sign_from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::keys::{GOOD_FOR, KEPT_AFTER};

    use super::*;

    const NOW: Timestamp = 1_000_000_000;
    const DAY: u64 = 24 * 60 * 60;
    const TTL: u64 = 90 * DAY;
    const PUBLISHED_AHEAD: u64 = super::PUBLISHED_AHEAD.as_secs();

    fn wanted() -> Wanted<'static> {
        Wanted {
            key_type: KeyType::P256,
            ttl: Duration::from_secs(TTL),
            rotate_now: false,
            revoke: None,
            lost: &[],
            in_files: None,
        }
    }

    fn key(kid: &str, published_at: Timestamp, sign_from: Timestamp) -> PublishedKey {
        PublishedKey {
            kid: kid.to_owned(),
            key_type: KeyType::P256,
            jwk: String::new(),
            published_at,
            sign_from,
        }
    }

    fn set(keys: &[PublishedKey]) -> KeySet {
        KeySet {
            version: 1,
            keys: keys.to_vec(),
        }
    }

    /// A key that has signed for 10 days, and its successor.
    fn in_the_middle() -> KeySet {
        let since = NOW - 10 * DAY;
        set(&[
            key("current", since, since),
            key("next", since, since + TTL),
        ])
    }

    fn turns(plan: &Plan) -> Vec<(&str, Timestamp)> {
        let keys = plan.keys.iter();
        keys.map(|key| (&*key.kid, key.sign_from)).collect()
    }

    /// Returns the set after `plan`, as the function writes it.
    fn done(plan: Plan, version: u64, names: &mut u32, now: Timestamp) -> KeySet {
        let mut keys = plan.keys;
        for turn in plan.make {
            *names += 1;
            keys.push(key(&format!("made-{names}"), now, turn));
        }
        KeySet {
            version: version + 1,
            keys,
        }
    }

    #[test]
    fn where_there_is_nothing_one_signs_at_once_and_one_is_kept_ready() {
        let plan = Plan::new(&KeySet::default(), &wanted(), NOW);
        assert_eq!(plan.make, [NOW, NOW + TTL]);
    }

    #[test]
    fn in_the_middle_of_a_keys_time_there_is_nothing_to_do() {
        let set = in_the_middle();
        assert!(!Plan::new(&set, &wanted(), NOW).changes(&set));
    }

    #[test]
    fn a_key_whose_turn_came_is_followed_by_another() {
        let set = in_the_middle();
        let turn = set.keys[1].sign_from;

        let before = Plan::new(&set, &wanted(), turn - 1);
        let after = Plan::new(&set, &wanted(), turn);

        assert!(!before.changes(&set));
        assert_eq!(after.make, [turn + TTL]);
        assert_eq!(after.keys, set.keys, "the one before still verifies");
        let late = Plan::new(&set, &wanted(), turn + 200 * DAY);
        assert_eq!(late.make, [turn + 200 * DAY + PUBLISHED_AHEAD]);
    }

    #[test]
    fn a_key_goes_when_nothing_that_it_signed_can_be_valid() {
        let set = set(&[
            key("old", 0, 0),
            key("current", 0, NOW),
            key("next", NOW, NOW + TTL),
        ]);

        let before = Plan::new(&set, &wanted(), NOW + KEPT_AFTER.as_secs() - 1);
        let after = Plan::new(&set, &wanted(), NOW + KEPT_AFTER.as_secs());

        assert!(!before.changes(&set));
        assert_eq!(after.remove, ["old"]);
        assert!(after.make.is_empty());
    }

    #[test]
    fn rotating_now_waits_until_everybody_can_know_the_next_key() {
        let known = in_the_middle();
        let fresh = set(&[
            key("current", 0, NOW - DAY),
            key("next", NOW - 60, NOW + TTL),
        ]);
        let now = Wanted {
            rotate_now: true,
            ..wanted()
        };

        let at_once = Plan::new(&known, &now, NOW);
        let later = Plan::new(&fresh, &now, NOW);

        assert_eq!(turns(&at_once)[1], ("next", NOW));
        assert_eq!(at_once.make, [NOW + TTL]);
        let turn = NOW - 60 + PUBLISHED_AHEAD;
        assert_eq!(turns(&later)[1], ("next", turn));
        // A scheduled run in between changes nothing.
        let set = set(&later.keys);
        assert!(!Plan::new(&set, &wanted(), NOW + 60).changes(&set));
    }

    #[test]
    fn a_turn_begins_after_the_turn_of_the_current_key() {
        let fresh = set(&[
            key("current", NOW - 2 * DAY, NOW),
            key("next", NOW - 2 * DAY, NOW + TTL),
        ]);
        let now = Wanted {
            rotate_now: true,
            ..wanted()
        };

        let rotated = set(&Plan::new(&fresh, &now, NOW).keys);

        assert_eq!(rotated.current(NOW).unwrap().kid, "current");
        assert_eq!(rotated.current(NOW + 1).unwrap().kid, "next");
        let (current, next) = (&rotated.keys[0], &rotated.keys[1]);
        assert_eq!((&*next.kid, next.sign_from), ("next", NOW + 1));
        assert!(rotated.verify_until(current).is_some(), "it retires");
        let repeated = Plan::new(&rotated, &now, NOW);
        assert!(!repeated.changes(&rotated), "once is enough");
        let later = Plan::new(&rotated, &wanted(), NOW + 1);
        assert_eq!(later.make, [NOW + 1 + TTL]);
    }

    #[test]
    fn a_shorter_time_for_keys_is_kept_from_now_on() {
        let shorter = Wanted {
            ttl: Duration::from_secs(20 * DAY),
            ..wanted()
        };
        let plan = Plan::new(&in_the_middle(), &shorter, NOW);
        assert_eq!(turns(&plan)[1], ("next", NOW + 10 * DAY));
    }

    #[test]
    fn t87_a_revoked_key_goes_and_the_next_one_signs_at_once() {
        let revoke = |kid| Wanted {
            revoke: Some(kid),
            ..wanted()
        };

        let current = Plan::new(&in_the_middle(), &revoke("current"), NOW);
        let next = Plan::new(&in_the_middle(), &revoke("next"), NOW);
        let only = Plan::new(&set(&[key("only", 0, 0)]), &revoke("only"), NOW);

        assert_eq!(current.remove, ["current"]);
        assert_eq!(turns(&current), [("next", NOW)]);
        assert_eq!(current.make, [NOW + TTL]);
        assert_eq!(next.remove, ["next"]);
        assert_eq!(next.make, [NOW - 10 * DAY + TTL]);
        assert_eq!(only.make, [NOW, NOW + TTL]);
    }

    #[test]
    fn t87_a_key_whose_private_half_is_lost_signs_no_more_and_still_verifies() {
        let lost = |lost| Wanted { lost, ..wanted() };
        let (current, next) = ([String::from("current")], [String::from("next")]);

        let without_current = Plan::new(&in_the_middle(), &lost(&current), NOW);
        let without_next = Plan::new(&in_the_middle(), &lost(&next), NOW);

        assert_eq!(
            turns(&without_current),
            [("current", NOW - 10 * DAY), ("next", NOW)]
        );
        assert_eq!(without_current.make, [NOW + TTL]);
        assert_eq!(without_next.remove, ["next"]);
        assert_eq!(without_next.make.len(), 1);
    }

    #[test]
    fn a_key_that_is_lost_in_its_first_second_is_followed_all_the_same() {
        let lost = [String::from("current")];
        let lost = Wanted {
            lost: &lost,
            ..wanted()
        };
        let fresh = set(&[key("current", NOW, NOW), key("next", NOW, NOW + TTL)]);

        let first = Plan::new(&fresh, &lost, NOW);
        let again = set(&first.keys);
        let repeated = Plan::new(&again, &lost, NOW);
        let later = Plan::new(&again, &wanted(), NOW + 1);

        assert_eq!(turns(&first), [("current", NOW), ("next", NOW + 1)]);
        assert_eq!(repeated.keys, first.keys, "once is enough");
        assert_eq!(later.keys, first.keys);
        assert_eq!(later.make, [NOW + 1 + TTL]);
    }

    #[test]
    fn another_kind_of_key_is_published_a_day_ahead_as_well() {
        let rsa = Wanted {
            key_type: KeyType::Rsa2048,
            ..wanted()
        };
        let plan = Plan::new(&in_the_middle(), &rsa, NOW);
        assert_eq!(plan.remove, ["next"]);
        assert_eq!(plan.make, [NOW - 10 * DAY + TTL]);
        let late = Plan::new(&in_the_middle(), &rsa, NOW + 80 * DAY - 1);
        assert_eq!(late.make, [NOW + 80 * DAY - 1 + PUBLISHED_AHEAD]);
    }

    #[test]
    fn t111_a_key_that_the_files_do_not_have_waits_and_no_second_one_is_made() {
        let waits = Wanted {
            in_files: Some(&[]),
            ..wanted()
        };

        let first = Plan::new(&KeySet::default(), &waits, NOW);
        assert_eq!(first.make, [NO_TURN, NO_TURN]);
        let made = set(&[key("a", NOW, NO_TURN), key("b", NOW, NO_TURN)]);
        let later = NOW + 200 * DAY;
        assert!(!Plan::new(&made, &waits, later).changes(&made));
        let names = [String::from("a")];
        let one = Wanted {
            in_files: Some(&names),
            ..wanted()
        };
        let one = Plan::new(&made, &one, later);
        assert_eq!(turns(&one), [("a", later), ("b", NO_TURN)]);
        assert_eq!(one.keys[0].published_at, later, "known from now on");
        let both = set(&one.keys);
        let both = Plan::new(&both, &wanted(), later);
        assert_eq!(turns(&both), [("a", later), ("b", later + TTL)]);
        assert_eq!((one.make.len(), both.make.len()), (0, 0));
    }

    #[test]
    fn t111_a_key_that_waits_for_the_files_takes_no_turn_from_the_one_that_signs() {
        let current = key("current", NOW - DAY, NOW - DAY);
        let waiting = set(&[current.clone(), key("waiting", NOW, NO_TURN)]);
        let waits = Wanted {
            rotate_now: true,
            in_files: Some(&[]),
            ..wanted()
        };
        let late = NOW + 500 * DAY;

        assert!(!Plan::new(&waiting, &waits, late).changes(&waiting));
        let released = Plan::new(&waiting, &wanted(), late);
        assert_eq!(
            turns(&released),
            [("current", NOW - DAY), ("waiting", late + PUBLISHED_AHEAD)]
        );
        let revoked = Wanted {
            revoke: Some("current"),
            ..waits
        };
        let revoked = Plan::new(&waiting, &revoked, late);
        assert_eq!(turns(&revoked), [("waiting", NO_TURN)]);
        assert_eq!(revoked.make, [NO_TURN], "the one after it");
    }

    #[test]
    fn t111_a_key_of_another_kind_that_waits_for_the_files_is_replaced() {
        let current = key("current", NOW - DAY, NOW - DAY);
        let waiting = set(&[current, key("waiting", NOW, NO_TURN)]);
        let rsa = Wanted {
            key_type: KeyType::Rsa2048,
            in_files: Some(&[]),
            ..wanted()
        };
        let plan = Plan::new(&waiting, &rsa, NOW);
        assert_eq!(plan.remove, ["waiting"]);
        assert_eq!(plan.make, [NO_TURN]);
    }

    proptest! {
        /// For all events and any delay of the schedule: one key signs and one is ready, a key signs only after its
        /// publication time, and a key stays until its tokens have expired.
        #[test]
        fn whatever_happens_everybody_knows_the_key_that_signs(
            steps in proptest::collection::vec((0..4 * DAY, any::<bool>()), 1..60),
            ttl in 2 * DAY..6 * DAY,
        ) {
            let (mut now, mut names) = (NOW, 0);
            let ttl = Duration::from_secs(ttl);
            let plain = Wanted { ttl, ..wanted() };
            let mut set = done(Plan::new(&KeySet::default(), &plain, now), 0, &mut names, now);
            let first = set.keys[0].kid.clone();
            let mut last_signed = std::collections::HashMap::new();
            for (passed, rotate_now) in steps {
                for _ in 0..8 {
                    now += passed / 8;
                    let current = set.current(now).unwrap();
                    prop_assert!(current.kid == first || now >= current.published_at + PUBLISHED_AHEAD);
                    last_signed.insert(current.kid.clone(), now);
                    for (kid, signed) in &last_signed {
                        // The last use of a set that a function read at this time.
                        if now < signed + GOOD_FOR.as_secs() + 60 * 60 {
                            prop_assert!(set.published(now).any(|key| key.kid == *kid), "{kid}");
                        }
                    }
                }
                let plan = Plan::new(&set, &Wanted { rotate_now, ttl, ..wanted() }, now);
                set = done(plan, set.version, &mut names, now);
                prop_assert!(set.next(now).is_some());
                prop_assert!(!Plan::new(&set, &plain, now).changes(&set), "once is enough");
                prop_assert!(set.keys.len() <= 4, "{:?}", set.keys);
                let turns: std::collections::HashSet<_> =
                    set.keys.iter().map(|key| key.sign_from).collect();
                prop_assert_eq!(turns.len(), set.keys.len(), "two turns in the same second");
            }
        }

        /// For any failures of S3 and any revocation: a signing key is in the files.
        #[test]
        fn t111_whatever_happens_the_files_have_the_key_that_signs(
            steps in proptest::collection::vec(
                (0..4 * DAY, any::<bool>(), any::<bool>(), 0..6_usize),
                1..60,
            ),
        ) {
            let (mut now, mut names) = (NOW, 0);
            let (mut set, mut files) = (KeySet::default(), Vec::new());
            let plain = Wanted { ttl: Duration::from_secs(3 * DAY), ..wanted() };
            for (passed, rotate_now, s3_works, revoked) in steps {
                for _ in 0..8 {
                    now += passed / 8;
                    let current = set.current(now);
                    prop_assert!(current.is_none_or(|key| files.contains(&key.kid)), "{set:?}");
                }
                let revoke = set.keys.get(revoked).map(|key| key.kid.clone());
                let first = Wanted { rotate_now, revoke: revoke.as_deref(), in_files: Some(&[]), ..plain };
                set = done(Plan::new(&set, &first, now), set.version, &mut names, now);
                let again = Plan::new(&set, &Wanted { rotate_now: false, ..first }, now);
                prop_assert!(!again.changes(&set), "once is enough");
                if s3_works {
                    files = set.keys.iter().map(|key| key.kid.clone()).collect();
                    let second = Wanted { in_files: Some(&files), ..plain };
                    set = done(Plan::new(&set, &second, now), set.version, &mut names, now);
                    prop_assert!(set.current(now).is_some());
                    prop_assert!(set.next(now).is_some_and(PublishedKey::has_turn));
                    prop_assert!(set.keys.iter().all(|key| files.contains(&key.kid)));
                }
                prop_assert!(set.keys.len() <= 6, "{:?}", set.keys);
            }
        }
    }
}
