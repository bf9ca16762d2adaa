//! The `command` probe: asks a program. Only the exit codes that the probe names are a verdict; every other one, a signal, a time-out
//! and a program that cannot be started are unknown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::evidence::{Look, bounded, either};
use super::view::View;
use crate::exec::capture::{Captured, CapturedEnding, run_captured};
use crate::exec::command::{Command, Stdin, User};
use crate::exec::program::PATH;
use crate::runbook::duration;
use crate::runbook::model::CommandProbe;

/// How much of a command's output is kept.
const KEPT: usize = 1024 * 1024;

/// Asks the command once.
pub(super) fn look(probe: &CommandProbe, view: &View) -> Look {
    let shown = format!("`{}`", shown(&probe.run));
    let regex = match probe.stdout.as_deref().map(Regex::new).transpose() {
        Ok(regex) => regex,
        Err(error) => return Look::unknown(format!("{shown}: the pattern of `stdout` is wrong: {error}")),
    };
    match command(probe, view) {
        Ok(command) => {
            let captured = run_captured(&command, probe.timeout, KEPT, None);
            verdict(probe, regex.as_ref(), &shown, &captured, view)
        }
        Err(why) => Look::unknown(format!("{shown} cannot be asked: {why}")),
    }
}

/// A command as it is shown: of a shell text, its name and arguments.
pub(super) fn shown(run: &[String]) -> String {
    match run {
        [shell, option, _, rest @ ..] if shell.ends_with("sh") && option == "-c" && !rest.is_empty() => {
            bounded(rest.join(" ").trim_end(), 160)
        }
        run => bounded(&run.join(" "), 160),
    }
}

fn command(probe: &CommandProbe, view: &View) -> Result<Command, String> {
    let path = find_program(&probe.run, &probe.look_in)?;
    let program = view.programs().open(&path).map_err(|error| error.to_string())?;
    let user = match &probe.user {
        None => User::current(),
        Some(name) => User::named(name).map_err(|error| error.to_string())?,
    };
    let env = vec![("LC_ALL".to_owned(), "C".to_owned())];
    Ok(Command { program, argv: probe.run.clone(), env, cwd: PathBuf::from("/"), user, stdin: Stdin::Empty })
}

fn verdict(probe: &CommandProbe, regex: Option<&Regex>, shown: &str, captured: &Captured, view: &View) -> Look {
    let stdout = String::from_utf8_lossy(&captured.stdout);
    let stderr = String::from_utf8_lossy(&captured.stderr);
    let said = match (stdout.trim(), stderr.trim()) {
        ("", "") => String::new(),
        ("", said) | (said, _) => {
            // All of it, since a secret may have lines.
            let cleaned = view.cleaned(said);
            format!(": {}", bounded(cleaned.lines().next().unwrap_or(""), 200))
        }
    };
    let code = match &captured.ending {
        CapturedEnding::Exited(code) => *code,
        CapturedEnding::Signalled(signal) => {
            return Look::unknown(format!("{shown} was ended by signal {signal}{said}"));
        }
        CapturedEnding::TimedOut => {
            return Look::unknown(format!("{shown} did not end within {}", duration::show(probe.timeout)));
        }
        CapturedEnding::NotStarted(why) => return Look::unknown(format!("{shown} was not started: {why}")),
    };
    let seen = format!("{shown} exited {code}{said}");
    if probe.broken.contains(&code) {
        return Look::broken(seen);
    }
    if !probe.holds.contains(&code) {
        let known: Vec<String> = probe.holds.iter().chain(&probe.broken).map(i32::to_string).collect();
        return Look::unknown(format!("{seen} (only {} would tell)", either(&known)));
    }
    match regex {
        None => Look::holds(seen),
        Some(regex) if regex.is_match(&stdout) => Look::holds(format!("{seen} (as expected)")),
        Some(regex) => Look::broken(format!("{seen} (expected `{}`)", bounded(regex.as_str(), 80))),
    }
}

/// Finds the program: by its path, or in the given folders (the last match of each pattern in version order), or in `PATH`.
fn find_program(run: &[String], look_in: &[String]) -> Result<PathBuf, String> {
    let name = run.first().ok_or("the probe names no command")?;
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let mut folders = Vec::new();
    for pattern in look_in {
        folders.extend(expand(pattern).into_iter().rev());
    }
    folders.extend(PATH.split(':').map(PathBuf::from));
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| is_program(path));
    found.ok_or_else(|| {
        let mut places: Vec<String> = look_in.to_vec();
        places.extend(PATH.split(':').map(str::to_owned));
        format!("the program {} was not found in {}", bounded(name, 80), bounded(&either(&places), 300))
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

/// The folders that a pattern stands for, in version order. `*` stands for any characters of one component, but for a dot at its beginning.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = found.into_iter().flat_map(|folder| step_into(&folder, part)).collect();
    }
    found.retain(|folder| folder.is_dir());
    found
}

fn step_into(folder: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains('*') {
        return vec![folder.join(part)];
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && matches(part, name))
        .collect();
    names.sort_by_cached_key(|name| version_key(name));
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Runs of digits compare as numbers, everything else as text: `9.6` comes before `15`.
fn version_key(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.len() - rest.trim_start_matches(|c: char| !c.is_ascii_digit()).len();
        let (before, tail) = rest.split_at(text);
        let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = tail.split_at(digits);
        if !before.is_empty() {
            key.push((u64::MAX, before.to_owned()));
        }
        if !number.is_empty() {
            key.push((number.parse().unwrap_or(u64::MAX), String::new()));
        }
        rest = tail;
    }
    key
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{expand, matches, version_key};

    #[test]
    fn versions_sort_as_numbers() {
        let mut names = ["15", "9.6", "16", "9.10", "9.4"];
        names.sort_by_cached_key(|name| version_key(name));
        assert_eq!(names, ["9.4", "9.6", "9.10", "15", "16"]);
    }

    #[test]
    fn a_star_stands_for_any_characters_of_a_component() {
        for (pattern, name) in [("*", "15"), ("pgsql-*", "pgsql-15"), ("a*c*e", "abcde"), ("*.d", "x.d")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("pgsql-*", "mysql-15"), ("a*c", "ab"), ("a*a", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn folders_come_in_version_order() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "16"] {
            fs::create_dir_all(root.path().join(version).join("bin")).unwrap();
        }
        let found = expand(&format!("{}/*/bin", root.path().display()));
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(root.path()).unwrap().to_path_buf()).collect();
        assert_eq!(names, ["9.6/bin", "15/bin", "16/bin"].map(std::path::PathBuf::from));
    }
}
