//! Who may: the policy, the file that says whose which key is, and the checking of signatures. Pure but for two doors: `door` reads
//! files that nobody else could have changed, and [`keygen`] runs the real `ssh-keygen`. The clock is the caller's: every question
//! that depends on the time takes it.

pub mod calendar;
pub mod code;
pub mod door;
pub mod key;
pub mod keygen;
pub mod operator;
pub mod pattern;
pub mod policy;
pub mod question;
pub mod recorded;
pub mod request;
pub mod review;
pub mod revoked;
pub mod signature;
pub mod signers;
pub mod sshsig;
pub mod wire;

#[cfg(test)]
mod tests;
