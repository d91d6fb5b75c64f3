//! The `sapwood` command.

#[cfg(test)]
mod demo;

fn main() {}
