//! An entry of the audit log as it is read: what happened, when, in which run, and who was at the keyboard.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::history::event::Event;
use crate::id::{BootId, Digest, RunId, Timestamp};

/// The version of the entry format that this program writes.
pub const VERSION: u32 = 1;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number: the first entry of a log is 1, and each is one more than the one before, across segments.
    pub seq: u64,
    /// When it was written: UTC, RFC 3339 with microseconds. The clock may have been wrong.
    pub time: Timestamp,
    /// Nanoseconds of `CLOCK_BOOTTIME`; comparable between entries with the same `boot`.
    pub mono: u64,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot: BootId,
    /// The run it belongs to; none for entries about the log itself.
    pub run: Option<RunId>,
    /// Who was at the keyboard. Entries of one process share it.
    pub who: Arc<Who>,
    /// What happened.
    pub event: Event,
    /// The SHA-256 of the previous entry's line without its newline; 64 zeros for the first entry.
    pub prev: Digest,
}

/// Who acts, as the kernel and the environment tell it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The real user id.
    pub uid: u32,
    /// The name of that user, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The login user id, which survives `sudo` and `su` (`/proc/self/loginuid`); none where it was never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// What `sudo` says of who called it (`SUDO_USER`): a claim of the environment, not proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// The name of the machine.
    pub host: String,
    /// The terminal on standard input, such as `/dev/pts/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// Where the ssh session comes from (`SSH_CONNECTION`): a claim of the environment, not proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// The process id of the program.
    pub pid: u32,
}
