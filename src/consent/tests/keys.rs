//! Real keys, certificates and signatures, made by `ssh-keygen` for one test and removed after it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chrono::{DateTime, Utc};

use crate::consent::door::Trust;
use crate::consent::keygen::Keygen;
use crate::consent::revoked::Revoked;
use crate::consent::signature::{Accepted, Namespace, Rejected, Roster, verify};
use crate::consent::signers::Signers;
use crate::diagnostic::Source;
use crate::diagnostic::render::{Colour, render_all};
use crate::id::Person;

pub const AMY: &str = "amy@example.org";
pub const BEA: &str = "bea@example.org";

/// A folder with keys.
pub struct Keys {
    folder: tempfile::TempDir,
}

/// Everything that a verdict depends on.
#[derive(Clone)]
pub struct Case {
    pub bytes: Vec<u8>,
    pub signature: Vec<u8>,
    pub signers: String,
    pub revoked: Option<Vec<u8>>,
    pub people: Vec<&'static str>,
    pub at: DateTime<Utc>,
}

/// Runs a program that must succeed, and gives what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

pub fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn persons(names: &[&str]) -> BTreeSet<Person> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

pub fn keygen() -> Keygen {
    Keygen::find(Trust::of_user(rustix::process::geteuid().as_raw())).unwrap()
}

impl Keys {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn make(&self, name: &str, kind: &str, bits: &str) {
        let path = self.text_path(name);
        let mut arguments = vec!["-q", "-t", kind, "-N", "", "-C", name, "-f", &path];
        if !bits.is_empty() {
            arguments.extend(["-b", bits]);
        }
        run("ssh-keygen", &arguments);
    }

    /// Certifies a key, with more options for `ssh-keygen`; the certificate lies beside it as `name-cert.pub`.
    pub fn certify(&self, authority: &str, name: &str, more: &[&str]) {
        let (authority, key) = (self.text_path(authority), self.text_path(&format!("{name}.pub")));
        let mut arguments = vec!["-q", "-s", &authority, "-I", "a-certificate"];
        arguments.extend(more);
        arguments.push(&key);
        run("ssh-keygen", &arguments);
    }

    /// The kind and base64 of a public key.
    pub fn public(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    /// Signs; `key` may be the name of a certificate, whose private key lies beside it.
    pub fn sign(&self, key: &str, namespace: &str, bytes: &[u8]) -> Vec<u8> {
        let file = self.path("to-sign");
        std::fs::write(&file, bytes).unwrap();
        let (file, signature) = (file.to_str().unwrap().to_owned(), self.path("to-sign.sig"));
        let _ = std::fs::remove_file(&signature);
        let key = match key.strip_suffix("-cert") {
            Some(_) => self.text_path(&format!("{key}.pub")),
            None => self.text_path(key),
        };
        run("ssh-keygen", &["-q", "-Y", "sign", "-n", namespace, "-f", &key, &file]);
        std::fs::read(signature).unwrap()
    }

    /// What `ssh-keygen -Y verify` alone says of a case, for this person.
    pub fn stock(&self, case: &Case, person: &str) -> bool {
        let put = |name: &str, bytes: &[u8]| {
            std::fs::write(self.path(name), bytes).unwrap();
            self.text_path(name)
        };
        let (signature, signers) = (put("stock.sig", &case.signature), put("stock.signers", case.signers.as_bytes()));
        let time = format!("-Overify-time={}Z", case.at.format("%Y%m%d%H%M%S"));
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "verify", "-f", &signers, "-I", person, "-n", Namespace::Plan.as_str()]);
        command.args(["-s", &signature, &time]);
        if let Some(revoked) = &case.revoked {
            command.args(["-r", &put("stock.revoked", revoked)]);
        }
        let input = std::fs::File::open(put("stock.bytes", &case.bytes)).unwrap();
        command.stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Case {
    /// What our own verdict on it is.
    pub fn verdict(&self) -> Result<Accepted, Rejected> {
        let signers = signers(&self.signers);
        let revoked = self.revoked.as_ref().map(|bytes| Revoked::read("revoked", bytes.clone()).unwrap());
        let people = persons(&self.people);
        let roster = Roster { signers: &signers, revoked: revoked.as_ref(), people: &people };
        verify(&keygen(), &self.bytes, &self.signature, Namespace::Plan, &roster, self.at)
    }

    /// Why it is rejected, in words.
    pub fn why(&self) -> String {
        self.verdict().expect_err("this must be rejected").to_string()
    }
}

pub fn signers(text: &str) -> Signers {
    match Signers::read(Source::new("signers", text)) {
        Ok((signers, _)) => signers,
        Err((source, mistakes)) => panic!("{}", render_all(&mistakes, &source, Colour::Never)),
    }
}

pub fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sk");
    std::fs::read(folder.join(name)).unwrap()
}
