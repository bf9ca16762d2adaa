//! YAML files that people write, with the place of everything in them: [`source`] reads bytes at the door, [`tree`] makes a tree
//! of them whose every node knows where it stands, [`read`] takes values out of it and reports what is wrong. What the keys mean is
//! the business of the rooms that use this: runbooks, kinds, parameter files, policies. [`write`](mod@write) is how the program writes files that
//! people sign, and [`form`](mod@form) says which of those it reads back.

pub mod code;
pub mod duration;
pub mod form;
pub mod read;
pub mod source;
pub mod tree;
pub mod write;

/// What kind of file is read, for the words of messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Genre {
    /// What one such file is called, without an article: `runbook`.
    pub noun: &'static str,
    /// How such a file begins, said where one is empty.
    pub beginning: &'static str,
}

#[cfg(test)]
mod tests;
