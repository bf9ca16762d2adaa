#![expect(unsafe_code, reason = "the user database is the C library's, and has no safe interface")]
//! What is to be started: program, arguments, environment, directory, user, standard input. Also who users are.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::PathBuf;
use std::ptr;

use crate::exec::program::{PATH, Program};

/// A command. It is started with a clean environment (see [`Command::environment`]), umask 022, default signals, in a
/// session of its own, with the descriptors 0, 1 and 2 only. Resource limits are left as they are.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program to execute.
    pub program: Program,
    /// The arguments; the first is the name that the program is told.
    pub argv: Vec<String>,
    /// Environment variables besides the clean base; one of the same name replaces the base's.
    pub env: Vec<(String, String)>,
    /// The working directory; it must exist.
    pub cwd: PathBuf,
    /// Whom to run as: [`User::current`] for whoever we are. Only root can run as another.
    pub user: User,
    /// What it reads from its standard input.
    pub stdin: Stdin,
}

/// Standard input of a command.
#[derive(Clone, Default)]
pub enum Stdin {
    /// Nothing: the end at once (`/dev/null`).
    #[default]
    Empty,
    /// These bytes, then the end. May be a secret: never shown.
    Bytes(Vec<u8>),
}

/// A user, as the system's user database tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name; the number where the database has none.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The id of the primary group.
    pub gid: u32,
    /// All groups, the primary among them.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

/// Why a user cannot be run as.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The user database has no such name.
    #[error("there is no user `{0}` on this machine; create it, or correct `user`")]
    Unknown(String),
    /// The user database could not be asked.
    #[error("user `{name}` cannot be looked up: {error}; look at the machine's user database (nsswitch.conf)")]
    Database {
        /// The name.
        name: String,
        /// Why.
        error: std::io::Error,
    },
}

impl Command {
    /// The environment as the command gets it: `PATH` (fixed: [`PATH`]), `LANG=C.UTF-8`, `HOME`, `USER`, `LOGNAME` and
    /// `SHELL` of the user it runs as, then [`Command::env`]. Nothing else is inherited.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = [
            ("PATH", PATH),
            ("LANG", "C.UTF-8"),
            ("HOME", &self.user.home),
            ("USER", &self.user.name),
            ("LOGNAME", &self.user.name),
            ("SHELL", &self.user.shell),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in &self.env {
            match environment.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1.clone_from(value),
                None => environment.push((name.clone(), value.clone())),
            }
        }
        environment
    }
}

impl User {
    /// The user of this name, with its groups.
    ///
    /// # Errors
    /// When there is none, or the database cannot be asked.
    pub fn named(name: &str) -> Result<Self, UserError> {
        let Ok(text) = CString::new(name) else { return Err(UserError::Unknown(name.to_owned())) };
        let found = look_up(|entry, buffer, length, result| {
            // SAFETY: the pointers are `look_up`'s, which says that they are valid for the call.
            unsafe { libc::getpwnam_r(text.as_ptr(), entry, buffer, length, result) }
        });
        let database = |error| UserError::Database { name: name.to_owned(), error };
        let user = found.map_err(database)?.ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        let groups = groups_of(&user).map_err(database)?;
        Ok(Self { groups, ..user })
    }

    /// Whoever this process runs as, with the groups that it has: what it starts has them too, whatever the database says by now. A user
    /// that the database does not know is called by its number.
    pub fn current() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let found = look_up(|entry, buffer, length, result| {
            // SAFETY: as in `named`.
            unsafe { libc::getpwuid_r(uid, entry, buffer, length, result) }
        });
        let gid = rustix::process::getegid().as_raw();
        let user = found.ok().flatten().unwrap_or_else(|| Self {
            name: uid.to_string(),
            uid,
            gid,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        });
        let others = rustix::process::getgroups().unwrap_or_default();
        let groups = others.iter().map(|group| group.as_raw()).filter(|group| *group != gid).chain([gid]).collect();
        Self { gid, groups, ..user }
    }
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// Asks the user database by `ask`, which is given an entry, a buffer with its length, and a place for the result, all
/// valid for the call. The groups are not looked up.
fn look_up(
    ask: impl Fn(*mut libc::passwd, *mut c_char, usize, *mut *mut libc::passwd) -> c_int,
) -> std::io::Result<Option<User>> {
    let mut buffer: Vec<c_char> = vec![0; 4096];
    // SAFETY: an all-zero passwd is a valid value: null pointers and zero numbers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    loop {
        let mut result = ptr::null_mut();
        match ask(&raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut result) {
            0 if result.is_null() => return Ok(None),
            0 => break,
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            libc::EINTR => {}
            libc::ENOENT | libc::ESRCH => return Ok(None),
            errno => return Err(std::io::Error::from_raw_os_error(errno)),
        }
    }
    let text = |field: *const c_char| {
        if field.is_null() {
            return String::new();
        }
        // SAFETY: the call succeeded, so the fields are strings in `buffer`, which is still there.
        unsafe { CStr::from_ptr(field) }.to_string_lossy().into_owned()
    };
    let shell = text(entry.pw_shell);
    Ok(Some(User {
        name: text(entry.pw_name),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        groups: Vec::new(),
        home: text(entry.pw_dir),
        shell: if shell.is_empty() { "/bin/sh".to_owned() } else { shell },
    }))
}

/// All groups of a user, the primary among them, as the database tells.
fn groups_of(user: &User) -> std::io::Result<Vec<u32>> {
    let name = CString::new(user.name.as_str())?;
    let mut count: c_int = 64;
    let mut groups: Vec<u32> = Vec::new();
    loop {
        groups.resize(usize::try_from(count).unwrap_or(64), 0);
        let room = count;
        // SAFETY: the name is a string; `groups` has room for `count` ids.
        let done = unsafe { libc::getgrouplist(name.as_ptr(), user.gid, groups.as_mut_ptr(), &raw mut count) };
        if done >= 0 {
            break;
        }
        count = count.max(room.saturating_mul(2));
        if count > 1 << 17 {
            return Err(std::io::Error::other("it is in more groups than the kernel allows"));
        }
    }
    groups.truncate(usize::try_from(count).unwrap_or(0));
    Ok(groups)
}
