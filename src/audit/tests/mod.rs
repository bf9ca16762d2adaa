//! The tests of the room, by what they try.

mod basics;
mod common;
mod events;
mod faults;
mod glide;
mod model;
mod policies;
mod real;
mod runs;
mod scan;
mod tamper;
