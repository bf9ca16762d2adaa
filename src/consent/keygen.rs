//! Runs the real `ssh-keygen`, which checks signatures. It gets private copies of exactly the bytes that were read before, nothing of
//! our environment, and a bounded time; whatever it does but say "good" is a refusal.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::door::{self, Trust};

/// Where the program is looked for. Never in `PATH`, which the operator could set.
const PLACES: [&str; 3] = ["/usr/bin/ssh-keygen", "/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"];
/// Where the copies go: one of these, the first that can be written.
const SCRATCH: [&str; 2] = ["/run", "/tmp"];
/// The longest that it may take.
const MOST_TIME: Duration = Duration::from_secs(20);
/// The most that is read of what it says, in bytes.
const MOST_SAID: u64 = 64 << 10;

/// The program, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keygen {
    program: PathBuf,
}

/// Why a question could not be put to it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeygenError(String);

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it ended with 0.
    pub verdict: Verdict,
    /// What it wrote, of both streams.
    pub said: String,
}

/// What it decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It ended with 0.
    Good,
    /// It ended with anything else.
    NotGood,
}

/// The key that is to sign.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// The one in this file; its passphrase is asked for.
    File(&'a Path),
    /// The one in the person's agent with this public key, a line of a `.pub` file.
    InAgent(&'a str),
}

/// A private folder with the files of one question; removed when it is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Keygen {
    /// Finds it in one of the places of the system, where nobody but root (and this user) could have put it.
    ///
    /// # Errors
    /// If it is in none of them, or someone else could have replaced it.
    pub fn find(trust: Trust) -> Result<Self, KeygenError> {
        let Some(place) = PLACES.iter().find(|place| Path::new(place).exists()) else {
            let message = format!(
                "signatures are checked by `ssh-keygen`, and it is not there ({}): install OpenSSH's client",
                PLACES.join(", ")
            );
            return Err(KeygenError(message));
        };
        door::open(Path::new(place), trust).map_err(|objection| KeygenError(objection.message))?;
        Ok(Self { program: PathBuf::from(place) })
    }

    /// Has it sign these bytes, at the terminal of the person whose key it is: a passphrase, or the touch of a hardware key, is asked for
    /// there, for as long as that takes. `environment` is all that it gets to know of ours.
    ///
    /// # Errors
    /// If it cannot be started or gives no signature; what it said stands on standard error already.
    pub fn sign(
        &self,
        key: Key<'_>,
        namespace: &str,
        bytes: &[u8],
        environment: &[(String, OsString)],
    ) -> Result<Vec<u8>, KeygenError> {
        let scratch = Scratch::new()?;
        let input = scratch.write("input", bytes)?;
        let failed = |what: &str, error: std::io::Error| KeygenError(format!("{what}: {error}"));
        let mut command = Command::new(&self.program);
        command.args(["-q", "-Y", "sign", "-n", namespace, "-f"]);
        match key {
            Key::File(path) => command.arg(path),
            Key::InAgent(line) => command.arg(scratch.write("key.pub", line.as_bytes())?).arg("-U"),
        };
        let child = command
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(File::open(input).map_err(|error| failed("what is signed cannot be read", error))?))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| failed("ssh-keygen cannot be started", error))?;
        let output = child.wait_with_output().map_err(|error| failed("what ssh-keygen gives cannot be read", error))?;
        if !output.status.success() {
            return Err(KeygenError(format!("ssh-keygen gave no signature: {}", output.status)));
        }
        Ok(output.stdout)
    }

    /// The public keys that the person's agent has, each as a line of a `.pub` file.
    ///
    /// # Errors
    /// If `ssh-add` is not beside `ssh-keygen`, or there is no agent.
    pub fn keys_of_agent(&self, environment: &[(String, OsString)]) -> Result<Vec<String>, KeygenError> {
        let program = self.program.with_file_name("ssh-add");
        let output = Command::new(&program)
            .arg("-L")
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| KeygenError(format!("{} cannot be started: {error}", program.display())))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(0) => Ok(said.lines().map(|line| format!("{line}\n")).collect()),
            Some(1) => Ok(Vec::new()),
            _ => Err(KeygenError(
                "there is no agent to ask (SSH_AUTH_SOCK): start one and add the key with `ssh-add`, or name the key's file with --key"
                    .to_owned(),
            )),
        }
    }

    /// Asks it, with these arguments and these bytes on standard input.
    ///
    /// # Errors
    /// If it cannot be started, is ended by a signal, or takes too long.
    pub fn ask(&self, scratch: &Scratch, arguments: &[&str], input: &[u8]) -> Result<Answer, KeygenError> {
        let failed = |what: &str, error: std::io::Error| KeygenError(format!("{what}: {error}"));
        let input = scratch.write("input", input)?;
        let said_path = scratch.path.join("said");
        let said = open_new(&said_path).map_err(|error| failed("what ssh-keygen says cannot be kept", error))?;
        let both = said.try_clone().map_err(|error| failed("what ssh-keygen says cannot be kept", error))?;
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            // Without a zone of its own, what it reads as local time is UTC.
            .envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
            .current_dir("/")
            .stdin(Stdio::from(File::open(input).map_err(|error| failed("the signed bytes cannot be read", error))?))
            .stdout(Stdio::from(said))
            .stderr(Stdio::from(both))
            .spawn()
            .map_err(|error| failed("ssh-keygen cannot be started", error))?;
        let ended = wait(&mut child);
        // The names of the copies say enough.
        let text = read_said(&said_path).replace(&format!("{}/", scratch.path.display()), "");
        // The next question of this folder writes the same files.
        let _ = std::fs::remove_file(&said_path);
        let status = ended?;
        let verdict = match status.code() {
            Some(0) => Verdict::Good,
            Some(_) => Verdict::NotGood,
            None => return Err(KeygenError(format!("ssh-keygen came to a sudden end: {status}"))),
        };
        Ok(Answer { verdict, said: text })
    }
}

/// Waits for its end, but not for ever.
fn wait(child: &mut Child) -> Result<std::process::ExitStatus, KeygenError> {
    let until = Instant::now() + MOST_TIME;
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))
                .expect("twenty seconds fit a timespec");
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other,
            }
        }
    });
    let outcome = match ended {
        Ok(1..) => Ok(()),
        Ok(0) => Err(KeygenError(format!("ssh-keygen did not end within {} s", MOST_TIME.as_secs()))),
        Err(error) => Err(KeygenError(format!("the end of ssh-keygen cannot be waited for: {error}"))),
    };
    if outcome.is_err() {
        // It may have ended meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| KeygenError(format!("how ssh-keygen ended cannot be told: {error}")))?;
    outcome.map(|()| status)
}

fn read_said(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What it says is for people; that it is cut or missing changes no verdict.
        let _ = file.take(MOST_SAID).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Scratch {
    /// A new folder that only this user can look into.
    ///
    /// # Errors
    /// If none can be made.
    pub fn new() -> Result<Self, KeygenError> {
        let name = format!("interlock-signature-{}", uuid::Uuid::now_v7());
        let mut last = None;
        for place in SCRATCH {
            let path = Path::new(place).join(&name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) => last = Some(format!("{}: {error}", path.display())),
            }
        }
        Err(KeygenError(format!("no folder can be made to check a signature in: {}", last.unwrap_or_default())))
    }

    /// Writes a file into it, and gives its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, KeygenError> {
        let path = self.path.join(name);
        let written = match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => open_new(&path).and_then(|mut file| file.write_all(bytes)),
        };
        written.map_err(|error| KeygenError(format!("{} cannot be written: {error}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies where the system clears up when it starts.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn open_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
