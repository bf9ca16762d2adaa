//! Whether the signatures in the log are good, at any later time: over the plans and requests that are kept beside it, by the keys that are
//! kept there, and, where a reviewer names them, by keys that the reviewer trusts. It only reads, and what keeps these files has no part
//! in it. Nothing that it cannot check is taken as good.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::audit::{Bundle, Home};
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::given::show;
use crate::cli::in_force::trust;
use crate::consent::keygen::Keygen;
use crate::consent::recorded::{BETWEEN, fits, holds, is_as_asked, is_in_time, is_removed_as_asked};
use crate::consent::request::Request;
use crate::consent::revoked::Revoked;
use crate::consent::signers::Signers;
use crate::diagnostic::Source;
use crate::history::approval::{Approval, CountsUnder, OVERRIDE};
use crate::history::deviation::{Deviation, Override};
use crate::history::event::Event;
use crate::history::glass::REVIEW;
use crate::history::state::State;
use crate::id::{Digest, RunId};
use crate::yaml::source::{LONGEST_PLAN, read_source};

/// Where the files lie that signatures are over, and those by which they were looked at.
#[derive(Clone, Copy)]
pub enum Kept<'a> {
    /// Beside the log, in the folder of the run.
    Beside(&'a Home),
    /// In a bundle of the run.
    In(&'a Bundle),
}

/// Looks at each signature that the log has.
pub struct Signatures<'a> {
    kept: Kept<'a>,
    /// The signers file of the reviewer, where they named one.
    trusted: Option<Signers>,
    /// Looked for when the first signature is met: a log without any needs none.
    keygen: Option<Result<Keygen, String>>,
    /// How many there are.
    recorded: u64,
    /// How many of them are good.
    good: u64,
    /// The permissions by request that were not used yet.
    unused: Vec<Unused>,
}

/// A permission that was accepted.
struct Unused {
    run: RunId,
    deviation: Deviation,
    digest: Digest,
    request: Request,
}

/// What is found out about what an event is of.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// The run; none where it is of the log.
    pub run: Option<&'a RunId>,
    /// Its state after the event; none where it is of the log.
    pub state: Option<&'a State>,
    /// The time of the event's entry.
    pub time: &'a str,
}

impl<'a> Signatures<'a> {
    /// With the signers file of a reviewer, if they name one.
    pub fn new(global: &Global, kept: Kept<'a>, signers: Option<&Path>) -> Result<Self, Failure> {
        let trusted = match signers {
            Some(path) => Some(trusted(global, path)?),
            None => None,
        };
        Ok(Self { kept, trusted, keygen: None, recorded: 0, good: 0, unused: Vec::new() })
    }

    /// Looks at what an event says of signatures, if it does.
    ///
    /// # Errors
    /// What is not borne out by what is kept, or cannot be checked.
    pub fn look(&mut self, of: Of<'_>, event: &Event) -> Result<(), String> {
        if let Event::ApprovalAccepted(approval) = event {
            self.recorded += 1;
            self.approval(of, approval)?;
            self.good += 1;
        }
        if let Event::OverrideAccepted(given) = event
            && let Some(request) = &given.request
        {
            let deviation = given.deviation.clone();
            let asked = self.request(of, given, request);
            let (run, asked) = asked.map_err(|why| format!("the permission to {deviation}: {why}"))?;
            self.unused.push(Unused { run, deviation, digest: request.clone(), request: asked });
        }
        self.used(of)?;
        if let Event::LockRemoved { lock, claimed_by, request: Some(digest), .. } = event {
            let removed = |(request, at): (Request, _)| is_removed_as_asked(&request, lock, claimed_by.as_ref(), at);
            let borne_out = self.kept_request(of, digest).and_then(removed);
            borne_out.map_err(|why| format!("the permission to remove the lock `{lock}`: {why}"))?;
        }
        Ok(())
    }

    /// A line for people: how many there are, and what that they are good does not tell.
    pub fn in_words(&self) -> Option<String> {
        let Self { recorded, good, .. } = self;
        let signatures = if *recorded == 1 { "signature" } else { "signatures" };
        if *recorded == 0 {
            return None;
        }
        if good < recorded {
            return Some(format!(
                "{recorded} {signatures} over plans, requests and reviews, of which {good} can be shown to be good"
            ));
        }
        Some(match &self.trusted {
            Some(signers) => format!(
                "{recorded} {signatures} over plans, requests and reviews, all good, by keys that {} gives to those who are named",
                signers.source.name()
            ),
            None => format!(
                "{recorded} {signatures} over plans, requests and reviews, all good, by the keys that are kept beside the log: whoever made all of it \
                 anew could have put keys of their own there. Say whose keys you trust (--signers)"
            ),
        })
    }

    /// The same for programs.
    pub fn in_json(&self) -> serde_json::Value {
        let signers = self.trusted.as_ref().map(|signers| signers.source.name());
        serde_json::json!({"recorded": self.recorded, "good": self.good, "signers": signers})
    }

    /// Whether a recorded signature is good.
    fn approval(&mut self, of: Of<'_>, approval: &Approval) -> Result<(), String> {
        fits(approval)?;
        let (what, name) = match approval.namespace.as_str() {
            OVERRIDE => ("a request", request_of(&approval.document)),
            REVIEW => ("a review", format!("reviews/{}.review.yaml", approval.document)),
            _ => ("the plan", "plan.yaml".to_owned()),
        };
        let whose = format!("the signature of {} over {what}", approval.person);
        let cannot = |why: String| format!("{whose} cannot be checked: {why}");
        let (_, document) = self.kept.read(of.run, &name, &approval.document).map_err(cannot)?;
        let at = moment(of.time).map_err(cannot)?;
        let keygen = self.keygen.get_or_insert_with(|| Keygen::find(trust()).map_err(|error| error.to_string()));
        let keygen = keygen.as_ref().map_err(|why| cannot(why.clone()))?;
        // Under one at least: else it was illegal, and is not looked at.
        for under in &approval.under {
            let (signers, revoked) = files(self.kept, of.run, under).map_err(cannot)?;
            is_good(keygen, approval, &document, &signers, revoked.as_ref(), at).map_err(|why| {
                format!("{whose} does not hold by the keys that are kept of policy number {}: {why}", under.number)
            })?;
        }
        let Some(trusted) = &self.trusted else { return Ok(()) };
        is_good(keygen, approval, &document, trusted, None, at)
            .map_err(|why| format!("{whose} does not hold by the keys of {}: {why}", trusted.source.name()))
    }

    /// The request that an override names, if it is kept and says what the override does, and the run that it is for.
    fn request(&self, of: Of<'_>, given: &Override, digest: &Digest) -> Result<(RunId, Request), String> {
        let (request, at) = self.kept_request(of, digest)?;
        let Some(run) = of.run else { return Err("it is of no run".to_owned()) };
        is_as_asked(&request, given, run, of.state.and_then(|state| state.plan.as_ref()), at)?;
        Ok((run.clone(), request))
    }

    /// Whether what was used of the permissions of this run was used in its time.
    fn used(&mut self, of: Of<'_>) -> Result<(), String> {
        let (Some(run), Some(state), false) = (of.run, of.state, self.unused.is_empty()) else { return Ok(()) };
        let is_used = |one: &mut Unused| one.run == *run && state.overrides.requests.contains(&one.digest);
        for Unused { deviation, request, .. } in self.unused.extract_if(.., is_used).collect::<Vec<_>>() {
            if !is_in_time(&request, moment(of.time)?) {
                let (at, until) = (of.time.escape_debug(), &request.valid_until);
                return Err(format!("the permission to {deviation} was used at {at}, and could be used until {until}"));
            }
        }
        // What is taken up anew has to be permitted anew, and what is over uses nothing.
        self.unused.retain(|one| {
            one.run != *run || state.overrides.open.iter().any(|open| open.request.as_ref() == Some(&one.digest))
        });
        Ok(())
    }

    /// A request as it is kept, and the time of the entry that names it.
    fn kept_request(&self, of: Of<'_>, digest: &Digest) -> Result<(Request, DateTime<Utc>), String> {
        let cannot = |why: String| format!("its request cannot be looked at: {why}");
        let (name, bytes) = self.kept.read(of.run, &request_of(digest), digest).map_err(cannot)?;
        let text = String::from_utf8(bytes).map_err(|_| cannot(format!("{name} is no text")))?;
        let request = Request::from_kept(&text).map_err(|error| cannot(format!("{name}: {error}")))?;
        Ok((request, moment(of.time).map_err(cannot)?))
    }
}

/// Whether a signature was good when it was looked at. That was before its entry was written, and a certificate may have ended meanwhile.
fn is_good(
    keygen: &Keygen,
    approval: &Approval,
    document: &[u8],
    signers: &Signers,
    revoked: Option<&Revoked>,
    at: DateTime<Utc>,
) -> Result<(), String> {
    holds(keygen, approval, document, signers, revoked, at)
        .or_else(|why| holds(keygen, approval, document, signers, revoked, at - BETWEEN).map_err(|_| why))
}

/// The signers file that a reviewer names.
fn trusted(global: &Global, path: &Path) -> Result<Signers, Failure> {
    let source = match read_source(path) {
        Ok(source) => source,
        Err(mistake) => {
            show(global, &Source::new(path.display().to_string(), String::new()), &[*mistake])?;
            return Err(Failure::Said(2));
        }
    };
    match Signers::read(source) {
        Ok((signers, _)) => Ok(signers),
        Err((source, mistakes)) => {
            show(global, &source, &mistakes)?;
            Err(Failure::Said(2))
        }
    }
}

/// The files of a policy that a signature was looked at with.
fn files(kept: Kept<'_>, run: Option<&RunId>, under: &CountsUnder) -> Result<(Signers, Option<Revoked>), String> {
    let (name, bytes) = kept.read(run, &format!("policies/{}.allowed_signers", under.signers), &under.signers)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is no text"))?;
    let (signers, _) =
        Signers::read(Source::new(name.clone(), text)).map_err(|_| format!("{name} is no signers file"))?;
    let Some(digest) = &under.revoked else { return Ok((signers, None)) };
    let (name, bytes) = kept.read(run, &format!("policies/{digest}.revoked"), digest)?;
    let revoked = Revoked::read(&name, bytes).map_err(|_| format!("{name} is no file of revoked keys"))?;
    Ok((signers, Some(revoked)))
}

/// Where a request is kept.
fn request_of(digest: &Digest) -> String {
    format!("requests/{digest}.request.yaml")
}

impl Kept<'_> {
    /// The bytes of a file that is kept of a run, or of locks that were removed, if they are those that were recorded; and what to call it.
    fn read(self, run: Option<&RunId>, name: &str, digest: &Digest) -> Result<(String, Vec<u8>), String> {
        let (name, bytes) = match self {
            Self::Beside(home) => {
                let path = run.map_or_else(|| home.unlocked(), |run| home.run(run)).join(name);
                let name = path.display().to_string();
                let bytes = bytes_of(&path).map_err(|error| format!("{name} cannot be read: {error}"))?;
                (name, bytes)
            }
            Self::In(bundle) => (name.to_owned(), bundle.read(name)?),
        };
        if Digest::of(&bytes) != *digest {
            return Err(format!("{name} was changed: it has another SHA-256 than is recorded"));
        }
        Ok((name, bytes))
    }
}

fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_PLAN + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn moment(time: &str) -> Result<DateTime<Utc>, String> {
    let read = DateTime::parse_from_rfc3339(time);
    read.map(|time| time.to_utc()).map_err(|_| format!("`{}` is no time", time.escape_debug()))
}
