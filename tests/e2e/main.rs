//! The tests that knock at the whole API.
