//! Signatures over a document: where they lie, which of them count and why the others do not, who is still to sign, and what is
//! recorded of them. The document is a plan; whatever else people sign goes through the same.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::cli::failure::Failure;
use crate::cli::in_force::{InForce, trust};
use crate::consent::keygen::Keygen;
use crate::consent::question::{Counted, Quorum, Requirement, quorum};
use crate::consent::recorded;
use crate::consent::request::Request;
use crate::consent::signature::Namespace;
use crate::consent::sshsig::LONGEST;
use crate::diagnostic::escape::escape_line;
use crate::history::approval::{Approval, CountsUnder};
use crate::id::{Digest, Moment, Person};
use crate::plan::{Binding, command_line};

/// How many signature files are looked at; each costs the time of a few processes.
const MOST: usize = 1000;
/// How a signature file's name ends.
const ENDING: &str = ".sig";

/// What is signed: its bytes, when it was made, and until when it can be used.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What signatures over it are made for.
    pub namespace: Namespace,
    /// When it was made.
    pub made: DateTime<Utc>,
    /// Until when it can be used, whatever its signatures say.
    pub until: DateTime<Utc>,
}

impl<'a> Signable<'a> {
    /// A plan.
    pub fn plan(bytes: &'a str, binding: &Binding) -> Self {
        Self {
            bytes: bytes.as_bytes(),
            namespace: Namespace::Plan,
            made: at(&binding.made),
            until: at(&binding.valid_until),
        }
    }
}

impl<'a> Signable<'a> {
    /// A request for a deviation.
    pub fn request(bytes: &'a str, request: &Request) -> Self {
        Self {
            bytes: bytes.as_bytes(),
            namespace: Namespace::Override,
            made: at(&request.made),
            until: at(&request.valid_until),
        }
    }
}

/// A signature that is offered.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Where it is from, for people.
    pub from: String,
    /// Its bytes; or why they cannot be read.
    pub armour: Result<Vec<u8>, String>,
}

/// What the offered signatures amount to.
#[derive(Debug)]
pub struct Tally {
    /// Those that count for a rule that asks.
    counted: Vec<Taken>,
    /// Those that do not, with the reason.
    pub not_counted: Vec<(String, String)>,
    /// The rules that are not met.
    pub lacking: Vec<Lacking>,
}

#[derive(Debug)]
struct Taken {
    counted: Counted,
    armour: String,
}

/// A rule that is not met.
#[derive(Debug)]
pub struct Lacking {
    /// The rule in words.
    pub rule: String,
    /// Those who have signed.
    pub signed: BTreeSet<Person>,
    /// How many more must.
    pub more: usize,
    /// Of whom.
    pub of: BTreeSet<Person>,
    /// Why nobody's signature counts any more.
    pub stale: Option<String>,
}

/// Finds the program that checks signatures.
pub fn keygen() -> Result<Keygen, Failure> {
    Keygen::find(trust()).map_err(|error| Failure::Internal(error.to_string()))
}

/// A moment of a plan, as a time.
pub fn at(moment: &Moment) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(moment.as_str()).expect("a moment is written as RFC 3339 asks").to_utc()
}

/// The signature files for a document: those that were named, and all in folders that were named; or else those beside it.
///
/// # Errors
/// Something that was named is not there, or they are too many.
pub fn offered(document: Option<&Path>, named: &[PathBuf]) -> Result<Vec<Offered>, Failure> {
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    let list = |folder: &Path, begins: &str| -> Result<Vec<PathBuf>, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::Wrong(format!("the folder {} cannot be looked through for signatures: {error}", folder.display()))
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(cannot)? {
            let name = entry.map_err(cannot)?.file_name();
            let text = name.to_string_lossy();
            if text.starts_with(begins) && text.ends_with(ENDING) {
                // As people would name it.
                found.push(if folder == Path::new(".") { PathBuf::from(&name) } else { folder.join(&name) });
            }
        }
        Ok(found)
    };
    for path in named {
        let status = std::fs::metadata(path)
            .map_err(|error| Failure::Wrong(format!("--approval {}: {error}", path.display())))?;
        if status.is_dir() {
            files.extend(list(path, "")?);
        } else {
            files.insert(path.clone());
        }
    }
    if let Some(document) = document.filter(|_| named.is_empty()) {
        let name = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.extend(list(folder_of(document), &format!("{name}."))?);
    }
    if files.len() > MOST {
        return Err(Failure::Wrong(format!(
            "there are {} signature files, and at most {MOST} are looked at",
            files.len()
        )));
    }
    Ok(files.iter().map(|path| Offered { from: path.display().to_string(), armour: read(path) }).collect())
}

/// The folder that a file is in, as it was named.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("it cannot be read: {error}");
    // Nothing that only looks like a file may hold up the run.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// Counts what is offered. Nothing but what the rules ask for is counted, and what is not is told with the reason.
pub fn tally(
    in_force: &InForce,
    keygen: &Keygen,
    signable: &Signable<'_>,
    needed: &[Requirement],
    offered: &[Offered],
    now: DateTime<Utc>,
) -> Tally {
    let mut tally = Tally { counted: Vec::new(), not_counted: Vec::new(), lacking: Vec::new() };
    for one in offered {
        let outcome = one.armour.clone().and_then(|armour| {
            let found = in_force.policies().check(keygen, signable.bytes, &armour, signable.namespace, now);
            let armour = String::from_utf8(armour).map_err(|_| "it is not a text".to_owned())?;
            tally.take(in_force, found.into_iter().map(|one| one.map_err(|why| why.to_string())), needed, &armour)
        });
        if let Err(why) = outcome {
            tally.not_counted.push((one.from.clone(), why));
        }
    }
    let over = Digest::of(signable.bytes);
    let counted: Vec<Counted> = tally.counted.iter().map(|taken| taken.counted.clone()).collect();
    for requirement in needed {
        let stale = (!requirement.is_fresh(signable.made, now)).then(|| {
            let (made, until) = (Moment::of(signable.made), Moment::of(requirement.valid_until(signable.made)));
            if now < signable.made {
                format!("it was made at {made}, which is still to come; set the clock of this machine right")
            } else {
                format!("signatures counted from {made}, when it was made, until {until}; make a new one")
            }
        });
        match (quorum(requirement, &over, &counted), stale) {
            (Quorum::Met(_), None) => {}
            (Quorum::Met(signed), stale @ Some(_)) => tally.lacking.push(Lacking {
                rule: requirement.rule.clone(),
                signed,
                more: 0,
                of: BTreeSet::new(),
                stale,
            }),
            (Quorum::Missing { signed, more, of }, stale) => {
                tally.lacking.push(Lacking { rule: requirement.rule.clone(), signed, more, of, stale });
            }
        }
    }
    tally
}

impl Tally {
    /// Takes what the policies say of one signature; or says why it counts under none that asks.
    fn take(
        &mut self,
        in_force: &InForce,
        found: impl Iterator<Item = Result<Counted, String>>,
        needed: &[Requirement],
        armour: &str,
    ) -> Result<(), String> {
        let mut why_not = None;
        let mut counts = false;
        for (policy, one) in found.enumerate() {
            let asks = needed.iter().any(|requirement| requirement.policy == policy);
            let counted = match one {
                Ok(counted) => counted,
                Err(why) => {
                    // What a policy says that asks for nothing explains nothing.
                    if asks || why_not.is_none() {
                        why_not = Some(why);
                    }
                    continue;
                }
            };
            let person = &counted.signature.person;
            let of_this: Vec<&Requirement> = needed.iter().filter(|requirement| requirement.policy == policy).collect();
            if !of_this.iter().any(|requirement| requirement.who.contains(person)) {
                why_not = Some(not_asked(in_force, policy, person, &of_this));
                continue;
            }
            let before = self
                .counted
                .iter()
                .find(|taken| taken.counted.policy == policy && taken.counted.signature.person == *person);
            if let Some(before) = before {
                let key = &counted.signature.key;
                let with = if before.counted.signature.key == *key { "the same key" } else { "another key" };
                why_not = Some(format!(
                    "signed by {person}, who has signed already, with {with} ({key}): persons are counted, not signatures or keys"
                ));
                continue;
            }
            counts = true;
            self.counted.push(Taken { counted, armour: armour.to_owned() });
        }
        match why_not {
            Some(why) if !counts => Err(why),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether every rule is met.
    pub fn is_met(&self) -> bool {
        self.lacking.is_empty()
    }

    /// Everybody whose signature counts.
    pub fn signed(&self) -> BTreeSet<&Person> {
        self.counted.iter().map(|taken| &taken.counted.signature.person).collect()
    }

    /// Those whose signatures count for any of these rules.
    pub fn signed_for(&self, rules: &[Requirement]) -> BTreeSet<&Person> {
        let counts = |taken: &&Taken| {
            let Counted { policy, signature } = &taken.counted;
            rules.iter().any(|rule| rule.policy == *policy && rule.who.contains(&signature.person))
        };
        self.counted.iter().filter(counts).map(|taken| &taken.counted.signature.person).collect()
    }

    /// What is missing, a line for each rule and for each signature that does not count.
    pub fn in_words(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.lacking.iter().map(Lacking::in_words).collect();
        lines.extend(self.not_counted.iter().map(|(from, why)| format!("{} is not counted: {why}", escape_line(from))));
        lines
    }

    /// What is to be recorded of those that count, but for what is recorded already.
    pub fn approvals(
        &self,
        in_force: &InForce,
        signable: &Signable<'_>,
        needed: &[Requirement],
        recorded: &[Approval],
    ) -> Vec<Approval> {
        let mut approvals: Vec<Approval> = Vec::new();
        for Taken { counted, armour } in &self.counted {
            let person = &counted.signature.person;
            let Some(policy) = in_force.policies().iter().nth(counted.policy) else { continue };
            let known = recorded.iter().any(|approval| {
                approval.person == *person && approval.under.iter().any(|under| under.policy == policy.digest)
            });
            if known {
                continue;
            }
            let rules = needed.iter().filter(|one| one.policy == counted.policy && one.who.contains(person));
            let until = rules.map(|one| one.valid_until(signable.made)).chain([signable.until]).min();
            let until = Moment::of(until.unwrap_or(signable.until));
            let under = CountsUnder {
                policy: policy.digest.clone(),
                number: policy.number,
                signers: policy.signers.digest.clone(),
                revoked: policy.revoked.as_ref().map(|revoked| revoked.digest.clone()),
                until,
            };
            let same = approvals.iter_mut().find(|one| one.person == *person && one.signature == *armour);
            match same {
                Some(approval) if approval.under.iter().any(|one| one.policy == under.policy) => {}
                Some(approval) => approval.under.push(under),
                None => approvals.push(recorded::approval(counted, armour, vec![under])),
            }
        }
        approvals
    }
}

impl Lacking {
    /// In one line.
    pub fn in_words(&self) -> String {
        let Self { rule, signed, more, of, stale } = self;
        let list = |persons: &BTreeSet<Person>| persons.iter().map(Person::as_str).collect::<Vec<_>>().join(", ");
        let signed =
            if signed.is_empty() { "nobody has signed".to_owned() } else { format!("{} signed", list(signed)) };
        let missing = match *more {
            0 => String::new(),
            more if more == of.len() => format!("; missing: {}", list(of)),
            more => format!("; {more} more needed of {}", list(of)),
        };
        let stale = stale.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        format!("{rule}: {signed}{missing}{stale}")
    }
}

/// Why the good signature of a person is not asked for.
fn not_asked(in_force: &InForce, policy: usize, person: &Person, needed: &[&Requirement]) -> String {
    let operates = in_force.operator().is_ok_and(|operator| operator.under(policy) == Some(person));
    let rules: Vec<&str> = needed.iter().map(|requirement| requirement.rule.as_str()).collect();
    if operates && !rules.is_empty() {
        return format!("signed by {person}, who operates this run, and the operator's own does not count");
    }
    format!(
        "signed by {person}, whose signature no rule asks for{}{}",
        if rules.is_empty() { "" } else { ": " },
        rules.join("; ")
    )
}

/// A command that people can type, with what follows from the options that were given.
pub fn command(words: &[&str]) -> String {
    command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}
