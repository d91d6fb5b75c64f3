//! The rules of the tree that no compiler checks. One file a rule or a few that belong together:
//! each rule is a function from texts to complaints, one test shows that the tree gives none, and
//! others that a planted breach gives one.
//!
//! What a rule lets pass stands in a list beside it, with the reason. An entry that nothing needs
//! any more is a breach, too.

#![allow(clippy::unwrap_used)]

mod crates;
mod names;
mod pages;
mod places;
mod sizes;
mod source;
mod suites;
mod tree;
mod unused;
mod wording;
