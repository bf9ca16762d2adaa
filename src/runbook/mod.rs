//! Text to checked runbook. Pure: no processes, threads, clock, environment or terminal; [`source`] is the door
//! through which files come in.
//!
//! The way of a runbook: [`source`] reads bytes, [`yaml`] makes a tree with places of them, [`params`] gives every
//! parameter its value, `lower` reads the tree key by key and renders each [`template`] on the way, [`kinds`] makes
//! systems from the kinds that ship with the program, `order` proves the order and `way_back` the way back, and [`check()`] is all of it.

pub mod check;
pub mod code;
pub mod duration;
pub mod holds;
pub mod kinds;
mod lower;
pub mod model;
mod order;
pub mod params;
mod read;
pub mod source;
pub mod template;
mod value;
mod way_back;
pub mod yaml;

pub use check::{Checked, check};
pub use params::{Given, Value};

#[cfg(test)]
mod tests;
