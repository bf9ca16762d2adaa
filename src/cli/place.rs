//! Where things are kept, and who is at the keyboard.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::audit::Home;
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::diagnostic::escape::escape_line;
use crate::history::entry::Who;

/// The home: `--home` or `INTERLOCK_HOME`, else `/var/lib/interlock` for root and the user's state directory for others.
pub fn home(global: &Global) -> Result<Home, Failure> {
    let path = match &global.home {
        Some(path) => path.clone(),
        None => default_home()?,
    };
    let home = Home::new(&path).map_err(|error| Failure::Wrong(format!("--home {}: {error}", path.display())))?;
    // What locks, plans and entries say of it is text.
    if home.path().to_str().is_none() {
        let home = escape_line(home.path().as_os_str().as_bytes());
        return Err(Failure::Wrong(format!("--home {home}: the path is not UTF-8; say another with --home DIR")));
    }
    Ok(home)
}

fn default_home() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/interlock"));
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("interlock"))
        .ok_or_else(|| Failure::Wrong("neither HOME nor XDG_STATE_HOME is set; say where with --home DIR".to_owned()))
}

/// Who is at the keyboard.
pub fn who() -> Result<Who, Failure> {
    Who::of_this_process().map_err(|error| Failure::Internal(format!("who acts cannot be told: {error}")))
}
