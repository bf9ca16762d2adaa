//! From where the world is looked at: which processes are the running step's own, and what could be hidden from us.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::evidence::bounded;
use super::procfs;
use crate::exec::censor::Censor;
use crate::exec::command::User;
use crate::exec::program::Programs;

/// Says of a process id whether it belongs to the running step's own tree.
pub type Membership = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// The inode of the machine's first pid namespace (`PROC_PID_INIT_INO` in the kernel's include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// `CAP_SYS_PTRACE`, the right that sees past `hidepid` (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;

/// From where the world is looked at. Cheap to clone.
#[derive(Clone)]
pub struct View {
    own: Membership,
    limits: Arc<OnceLock<Vec<String>>>,
    users: Arc<Mutex<HashMap<String, Option<u32>>>>,
    programs: Arc<Programs>,
    censor: Censor,
}

impl View {
    /// The view of this process. `own` says which processes are the running step's, `censor` takes out of what is quoted what must not be
    /// recorded.
    pub fn new(own: Membership, censor: Censor) -> Self {
        let (limits, users, programs) = (Arc::default(), Arc::default(), Arc::default());
        Self { own, limits, users, programs, censor }
    }

    /// A view with no step running: no process is the step's own.
    pub fn outside_steps(censor: Censor) -> Self {
        Self::new(Arc::new(|_| false), censor)
    }

    /// A view from which these things, in words, stand in the way of telling that a process is absent.
    #[cfg(test)]
    pub(super) fn with_limits(own: Membership, limits: Vec<String>) -> Self {
        Self { limits: Arc::new(limits.into()), ..Self::new(own, Censor::none()) }
    }

    /// Why processes could be hidden from here, in words; empty if none can be. Found out when it is first asked for.
    pub fn limits(&self) -> &[String] {
        self.limits.get_or_init(limits_of_this_process)
    }

    /// Whether this process is the running step's own.
    pub(super) fn is_own(&self, pid: u32) -> bool {
        (self.own)(pid)
    }

    /// Finds and opens programs, and remembers those that it knows.
    pub(super) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What somebody else wrote, or may have chosen, without what must not be recorded.
    pub(super) fn cleaned(&self, text: &str) -> String {
        self.censor.clean(text)
    }

    /// The same as one printable line of at most `longest` bytes. It is cut last, so that no half of a secret is left.
    pub(super) fn quoted(&self, text: &[u8], longest: usize) -> String {
        bounded(&self.censor.clean(&String::from_utf8_lossy(text)), longest)
    }

    /// The id of a user given by name or number; `None` if there is no such user. Remembered, since it is asked for at every
    /// look of a watch.
    pub(super) fn user_id(&self, user: &str) -> Option<u32> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        *users.entry(user.to_owned()).or_insert_with(|| find_user(user))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("limits", &self.limits.get()).finish_non_exhaustive()
    }
}

/// The user of this id: its name, or `uid 1234`.
pub(super) fn user_name(uid: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").ok().and_then(|text| {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    });
    known.unwrap_or_else(|| format!("uid {uid}"))
}

/// Looks a user up, by number or in the machine's user database.
fn find_user(user: &str) -> Option<u32> {
    user.parse().ok().or_else(|| User::named(user).ok().map(|user| user.uid))
}

/// What stands in the way of telling that a process is absent, for this very process.
fn limits_of_this_process() -> Vec<String> {
    let mut limits = Vec::new();
    match fs::metadata("/proc/self/ns/pid").map(|facts| facts.ino()) {
        Ok(FIRST_PID_NAMESPACE) => {}
        Ok(_) => limits.push(
            "this program runs in a container (its pid namespace is not the machine's first), so processes outside it are \
             hidden"
                .to_owned(),
        ),
        Err(error) => limits.push(format!("/proc/self/ns/pid cannot be read ({error}), so processes could be hidden")),
    }
    match hidepid() {
        Ok(None) => {}
        Ok(Some(_)) if may_see_past_hidepid() => {}
        Ok(Some(option)) => {
            limits
                .push(format!("/proc is mounted with {option}, so processes of other users are hidden from this user"));
        }
        Err(error) => limits.push(error),
    }
    limits
}

/// The `hidepid` option with which /proc is mounted, if it hides anything; an error, in words, if /proc is not as it should be.
fn hidepid() -> Result<Option<String>, String> {
    let unreadable = |error: io::Error| format!("/proc cannot be read ({error}), so processes could be hidden");
    let own = fs::read_link("/proc/self").map_err(unreadable)?;
    if own.as_os_str() != std::process::id().to_string().as_str() {
        return Err("/proc shows another pid namespace than this program's, so processes could be hidden".to_owned());
    }
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(unreadable)?;
    Ok(hidepid_in(&text))
}

/// The last mount on /proc is the one that is seen. Its options are on both sides of the ` - `.
fn hidepid_in(mountinfo: &str) -> Option<String> {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"))?;
    let mut options = line.split([' ', ',']).filter(|word| word.starts_with("hidepid="));
    let option = options.next_back()?;
    (!matches!(option, "hidepid=0" | "hidepid=off")).then(|| option.to_owned())
}

fn may_see_past_hidepid() -> bool {
    procfs::effective_capabilities().is_some_and(|set| set & (1 << CAP_SYS_PTRACE) != 0)
}

#[cfg(test)]
mod tests {
    use super::{Censor, View, hidepid_in, user_name};

    #[test]
    fn hidepid_is_read_from_the_mount_that_is_seen() {
        let plain = "22 27 0:21 / /proc rw,relatime - proc proc rw\n";
        assert_eq!(hidepid_in(plain), None);
        let hidden = "22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible\n";
        assert_eq!(hidepid_in(hidden).as_deref(), Some("hidepid=invisible"));
        assert_eq!(hidepid_in(&format!("{hidden}{plain}")), None);
        assert_eq!(hidepid_in(&hidden.replace("invisible", "0")), None);
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let view = View::outside_steps(Censor::none());
        assert_eq!(view.user_id("root"), Some(0));
        assert_eq!(view.user_id("4711"), Some(4711));
        assert_eq!(view.user_id("no-such-user-here"), None);
        assert_eq!(user_name(0), "root");
    }
}
