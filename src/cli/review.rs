//! `interlock review`: somebody else looks at a run for which the glass was broken, and signs that they did.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::{Draft, Home, Log};
use crate::cli::approvals::{Signable, at, command, keygen, offered, tally};
use crate::cli::failure::{Failure, say};
use crate::cli::gate::{full_command, not_taken_up};
use crate::cli::in_force::InForce;
use crate::cli::keep::keep;
use crate::cli::status::{Reviewable, to_review};
use crate::cli::whole::Existing;
use crate::cli::{Global, bound, place, plan};
use crate::consent::policy::{Need, OwnSignature, Quota};
use crate::consent::question::Requirement;
use crate::consent::review::{Review as Document, VERSION};
use crate::consent::signature::Namespace;
use crate::history::event::Event;
use crate::history::glass::GlassUnder;
use crate::id::{Digest, Person};
use crate::yaml::source::read_source;

/// For how long the signature under a review counts: it is of what was, and that does not change.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Reviews a run for which the glass was broken: writes what it was into a file, and takes the signature over it.
///
/// One of those who were told, and not the operator, reads the run (`interlock audit show RUN`) and the file, signs it with
/// `interlock approve`, and hands it back with --signed. Then it is settled, and not on `interlock status` any more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock review 019a8f6e -o review.yaml
  interlock approve review.yaml
  interlock review 019a8f6e --signed review.yaml

Exit codes: 0 written, or settled, 2 wrong arguments, 4 the signatures are not those that are asked for.")]
pub struct Review {
    /// The run's id, or the beginning of it
    run: String,
    /// Write the review to this file, which must not exist
    #[arg(short, long, value_name = "FILE", required_unless_present = "signed")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Take the signatures over this review, which lie beside it
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    signed: Option<PathBuf>,
}

impl Review {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let home = place::home(global)?;
        let reviewable = to_review(&home, &self.run)?;
        match (&self.output, &self.signed) {
            (Some(output), _) => self.write(global, &reviewable, output),
            (None, Some(signed)) => take(global, &home, &reviewable, signed),
            (None, None) => Err(Failure::Wrong("say -o FILE, or --signed FILE".to_owned())),
        }
    }

    fn write(&self, global: &Global, of: &Reviewable, output: &Path) -> Result<ExitCode, Failure> {
        let review = describe(of)?;
        let text = review.to_yaml().map_err(|error| Failure::Internal(error.to_string()))?;
        plan::write_new(output, &text, Existing::by_force(self.force), "review")?;
        let file = output.display().to_string();
        let people: Vec<String> = of.state.to_review.iter().map(|rule| one_of(&rule.reviewers)).collect();
        say(&format!(
            "interlock: wrote {file}: run {} of `{}`, {}; SHA-256 {}",
            of.run,
            of.glass.runbook,
            review.ended,
            Digest::of(text.as_bytes())
        ));
        say(&format!("interlock: read the run: {}", full_command(global, &["audit", "show", of.run.as_str()])));
        say(&format!(
            "interlock: {} signs it with `{}`; then: {}",
            people.join(" and "),
            command(&["interlock", "approve", &file]),
            full_command(global, &["review", of.run.as_str(), "--signed", &file])
        ));
        Ok(ExitCode::SUCCESS)
    }
}

fn one_of(people: &[Person]) -> String {
    format!("one of {}", people.iter().map(Person::as_str).collect::<Vec<_>>().join(", "))
}

fn describe(of: &Reviewable) -> Result<Document, Failure> {
    Ok(Document {
        interlock_review: VERSION,
        run: of.run.clone(),
        runbook: of.glass.runbook.clone(),
        plan: of.glass.plan.clone(),
        host: of.host.clone(),
        operator: of.operator.clone(),
        reason: of.glass.reason.clone(),
        without: of.glass.without.clone(),
        ended: of.ended.clone(),
        deviations: of.deviations,
        entry: of.entry,
        digest: of.digest.clone(),
        made: bound::now(),
        nonce: bound::nonce()?,
    })
}

/// What settles a rule.
fn required(in_force: &InForce, rule: &GlassUnder) -> Result<Requirement, Failure> {
    let of = rule.tell.parse().map_err(|_| Failure::Internal(format!("`{}` is no group", rule.tell)))?;
    // Where the policy has changed since, the first one says whose keys are whose.
    let same = in_force.policies().iter().position(|policy| policy.digest == rule.policy);
    let quota = Quota { need: Need::Number(1), of, own: OwnSignature::DoesNotCount, valid_for: FOR_EVER, line: 0 };
    Ok(Requirement {
        policy: same.unwrap_or(0),
        namespace: Namespace::Review,
        quota,
        who: rule.reviewers.iter().cloned().collect(),
        needed: 1,
        rule: format!("{} of those who were told (`{}`)", one_of(&rule.reviewers), rule.tell),
    })
}

/// Counts the signatures over a review, and records them.
fn take(global: &Global, home: &Home, of: &Reviewable, path: &Path) -> Result<ExitCode, Failure> {
    let source = read_source(path).map_err(|mistake| Failure::Wrong(mistake.message))?;
    let text = source.text();
    let review = Document::from_file(text).map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))?;
    let who = place::who()?;
    let in_force = InForce::open(global, &who)?;
    let refused = |why: &str| not_taken_up(home, &who, &in_force, &of.run, "review", why);
    let said = Document { made: review.made.clone(), nonce: review.nonce.clone(), ..describe(of)? };
    if review != said {
        return Err(refused("the review is of another run, or more was done since; write it anew with -o"));
    }
    if in_force.is_empty() {
        return Err(refused("no policy is in force that says whose key is whose; name it with --policy"));
    }
    // Else a policy of somebody's own, older or weaker than the home's, could say whose keys are whose.
    let _ = in_force.may_operate(home, None)?.map_err(|why| refused(&why))?;
    let needed = of.state.to_review.iter().map(|rule| required(&in_force, rule)).collect::<Result<Vec<_>, _>>()?;
    let made: DateTime<Utc> = at(&review.made);
    let until = made.checked_add_signed(TimeDelta::days(36_500)).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let signable = Signable { bytes: text.as_bytes(), namespace: Namespace::Review, made, until };
    let tally = tally(&in_force, &keygen()?, &signable, &needed, &offered(Some(path), &[])?, Utc::now());
    if !tally.is_met() {
        let mut lines = vec!["the review is not signed by those who must".to_owned()];
        lines.extend(tally.in_words());
        return Err(refused(&lines.join("\n  ")));
    }
    let name = format!("{}.review.yaml", Digest::of(text.as_bytes()));
    keep(&home.run(&of.run), "reviews", &[(name, text.as_bytes())]).map_err(Failure::Internal)?;
    in_force.keep(home, &of.run).map_err(Failure::Internal)?;
    let mut log = Log::open(home, who.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
    let mut state = of.state.clone();
    for approval in tally.approvals(&in_force, &signable, &needed, &[]) {
        let person = approval.person.clone();
        let event = Event::ApprovalAccepted(approval);
        // One of them may have settled it for all.
        if state.apply(&event).is_err() {
            continue;
        }
        log.append(&[Draft { run: Some(&of.run), event: &event }])
            .map_err(|error| Failure::Internal(error.to_string()))?;
        say(&format!("interlock: run {} was reviewed by {person}", of.run));
    }
    Ok(ExitCode::SUCCESS)
}
