//! Text to checked runbook. Pure: no processes, threads, clock, environment or terminal. Files come in through [`crate::yaml`].
//!
//! The way of a runbook: [`crate::yaml`] reads bytes and makes a tree with places of them, [`params`] gives every
//! parameter its value, `lower` reads the tree key by key and renders each [`template`] on the way, [`kinds`] makes
//! systems from the kinds that ship with the program, `order` proves the order and `way_back` the way back, and [`check()`] is all of it.

mod again;
pub mod check;
pub mod code;
pub mod holds;
pub mod kinds;
mod lower;
pub mod model;
mod order;
pub mod params;
mod read;
mod replaces;
pub mod template;
mod value;
mod way_back;

pub use crate::yaml::duration;
pub use again::check_again;
pub use check::{Checked, check};
pub use params::{Defaults, Given, Value};

#[cfg(test)]
mod tests;
