//! Where things are kept, and whether this program may run here at all.

use std::path::{Path, PathBuf};

use crate::audit::Home;
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::consent::policy::MACHINE;
use crate::history::entry::Who;

/// The home: `--home` or `INTERLOCK_HOME`, else `/var/lib/interlock` for root and the user's state directory for others.
pub fn home(global: &Global) -> Result<Home, Failure> {
    let path = match &global.home {
        Some(path) => path.clone(),
        None => default_home()?,
    };
    Home::new(&path).map_err(|error| Failure::Wrong(format!("--home {}: {error}", path.display())))
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

/// Refuses where a policy is in force: this version cannot enforce one, and passing it over would be the worst it could do.
pub fn no_policy_in_force() -> Result<(), Failure> {
    let named = std::env::var_os("INTERLOCK_POLICY").map(PathBuf::from);
    let in_force = named.or_else(|| Path::new(MACHINE).symlink_metadata().is_ok().then(|| PathBuf::from(MACHINE)));
    match in_force {
        None => Ok(()),
        Some(path) => Err(Failure::Wrong(format!(
            "there is a policy ({}), and this version of interlock cannot enforce one yet, so it runs nothing here",
            path.display()
        ))),
    }
}

/// Who is at the keyboard.
pub fn who() -> Result<Who, Failure> {
    Who::of_this_process().map_err(|error| Failure::Internal(format!("who acts cannot be told: {error}")))
}
