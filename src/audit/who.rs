//! Who is at the keyboard, as the kernel and the environment tell it. What the environment says is a claim: it is kept,
//! cut to a length, and proves nothing.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use crate::history::clip::clip;
use crate::history::entry::Who;

/// The most bytes kept of a text that came from outside.
const MOST: usize = 256;

/// What `/proc/self/loginuid` holds where nobody logged in: (uid_t) -1.
const UNSET: u32 = u32::MAX;

impl Who {
    /// Who runs this process.
    ///
    /// # Errors
    /// `/proc/self/loginuid` is there and cannot be read or understood: who logged in must not be lost in silence.
    pub fn of_this_process() -> io::Result<Self> {
        let uid = rustix::process::getuid().as_raw();
        Ok(Self {
            uid,
            user: Self::name_of(uid),
            login_uid: login_uid(Path::new("/proc/self/loginuid"))?,
            sudo_user: from_environment("SUDO_USER"),
            host: clip(&rustix::system::uname().nodename().to_string_lossy(), MOST),
            terminal: terminal(),
            ssh: from_environment("SSH_CONNECTION"),
            pid: std::process::id(),
        })
    }

    /// The name of a user of this machine, where it has one.
    pub fn name_of(uid: u32) -> Option<String> {
        fs::read("/etc/passwd").ok().and_then(|text| user_name(&String::from_utf8_lossy(&text), uid))
    }
}

/// The name of a user in the text of `/etc/passwd` (passwd(5)). Users of a directory service have none here, and are
/// known by their number.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid).then(|| clip(name, MOST))
    })
}

/// The login user id; none on a kernel without audit, and where nobody logged in.
fn login_uid(path: &Path) -> io::Result<Option<u32>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number: u32 = text.trim_end().parse().map_err(|_| {
        io::Error::other(format!("{} holds `{}`, which is not a user id", path.display(), text.escape_debug()))
    })?;
    Ok((number != UNSET).then_some(number))
}

fn from_environment(name: &str) -> Option<String> {
    let text = std::env::var_os(name)?;
    Some(clip(&text.to_string_lossy(), MOST)).filter(|text| !text.is_empty())
}

/// The terminal on standard input.
fn terminal() -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let path = fs::read_link("/proc/self/fd/0").ok()?;
    Some(clip(&path.to_string_lossy(), MOST))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{login_uid, user_name};
    use crate::history::entry::Who;

    #[test]
    fn a_user_is_found_by_number_and_only_in_well_formed_lines() {
        let passwd = "# a comment\nroot:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7::/:\namy:x:1000:1000::/home/amy:\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("amy"));
        assert_eq!(user_name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(user_name(passwd, 7), None);
        assert_eq!(user_name(passwd, 8), None);
    }

    #[test]
    fn an_unset_login_uid_is_none_and_an_unreadable_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loginuid");
        assert_eq!(login_uid(&path).unwrap(), None);
        for (text, expected) in [("4294967295", None), ("1000", Some(1000)), ("0\n", Some(0))] {
            fs::write(&path, text).unwrap();
            assert_eq!(login_uid(&path).unwrap(), expected);
        }
        fs::write(&path, "amy").unwrap();
        assert!(login_uid(&path).is_err());
    }

    #[test]
    fn this_process_has_a_host_and_a_number() {
        let who = Who::of_this_process().unwrap();
        assert_eq!(who.pid, std::process::id());
        assert_eq!(who.uid, rustix::process::getuid().as_raw());
        assert!(!who.host.is_empty());
    }
}
