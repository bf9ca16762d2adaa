//! The stable codes of what can be wrong with a policy and the files that it names; those of any YAML file are in
//! [`crate::yaml::code`]. docs/policy.md lists them.

/// A file, or a folder above it, that someone else could change.
pub const UNTRUSTED: &str = "E0701";
/// A group that the policy does not have.
pub const UNKNOWN_GROUP: &str = "E0702";
/// A rule that nobody could meet.
pub const UNMEETABLE: &str = "E0703";
/// A person who has no key in the signers file.
pub const NO_KEY: &str = "E0704";
/// One user for two persons.
pub const USER_TWICE: &str = "E0705";
/// One key for two persons.
pub const KEY_TWICE: &str = "E0706";
/// A line of the signers or revoked file that cannot be read.
pub const SIGNERS_LINE: &str = "E0707";
/// A time in the signers file that depends on the machine's time zone.
pub const LOCAL_TIME: &str = "E0708";
/// A text that is not a person.
pub const PERSON: &str = "E0709";
/// A rule that says nothing, or contradicts another.
pub const RULE: &str = "E0710";

/// A key that is there and can sign nothing here.
pub const WEAK_KEY: &str = "W0701";
/// A rule that cannot be met when certain persons operate.
pub const NARROW: &str = "W0702";
