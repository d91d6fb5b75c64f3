//! `sapwood demo`: the whole loop on the embedded model, with a simulated user.

pub mod grammar;
