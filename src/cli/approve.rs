//! `interlock approve`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::Utc;

use crate::cli::approvals::{command, keygen};
use crate::cli::failure::{Failure, put, say};
use crate::cli::in_force::InForce;
use crate::cli::needed::permission;
use crate::cli::overrides::how_to_use;
use crate::cli::whole::Existing;
use crate::cli::{Format, Global, place, whole};
use crate::consent::key::{Fingerprint, SigningKey};
use crate::consent::keygen::{Key, Keygen};
use crate::consent::policy::Subject;
use crate::consent::question::{Permission, Requirement, StepRule};
use crate::consent::request::{Asks, Request};
use crate::consent::review::Review;
use crate::consent::signature::Namespace;
use crate::consent::signers::Role;
use crate::consent::sshsig;
use crate::consent::wire::base64;
use crate::diagnostic::escape::{escape_line, reveal_line};
use crate::history::event::Cause;
use crate::id::{Digest, Person};
use crate::plan::{Plan, Procedure};
use crate::report::page::page;
use crate::runbook::duration;
use crate::terminal::{fold, prompt};
use crate::yaml::source::read_source_or_plan;

/// What is typed to sign.
const WORD: &str = "approve";
/// What of our surroundings `ssh-keygen` needs to find the person's keys, agent and terminal.
const SURROUNDINGS: [&str; 9] = [
    "HOME",
    "USER",
    "TERM",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "SSH_SK_PROVIDER",
];

/// Shows a plan to the person who is asked to approve it, and signs it with their key.
///
/// Everything that would be executed is shown, with who asks, where and when. Then it is signed by `ssh-keygen`, with a key in a file, an
/// agent or hardware, over exactly the bytes that were shown. The signature is a file beside the plan, `PLAN.PERSON.sig`; nothing is
/// started. Anybody can check it with `ssh-keygen -Y verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock approve plan.yaml                                with a key of the agent
  interlock approve plan.yaml --key ~/.ssh/id_ed25519        with the key in this file
  interlock approve plan.yaml --agent --key ~/.ssh/id_ed25519.pub
  interlock approve plan.yaml --key k --yes --no-input       without a terminal, after reading it

Exit codes: 0 signed, 2 not a plan, or no such key, 4 the person did not approve, 6 a person is needed and there is no terminal.")]
pub struct Approve {
    /// The plan, a file that `interlock plan -o` wrote
    document: PathBuf,
    /// The file of the key that signs; with --agent the public one (.pub), of which the agent has the other half
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Sign with a key of the agent (SSH_AUTH_SOCK); so it is without --key, too
    #[arg(long)]
    agent: bool,
    /// Who signs; refused if the policy in force knows the key as another person's
    #[arg(long = "as", value_name = "PERSON")]
    person: Option<Person>,
    /// Do not ask; for where there is no terminal, or the plan was read before
    #[arg(long)]
    yes: bool,
}

/// A kind of document that people sign.
struct Kind {
    /// What it is, for people.
    what: &'static str,
    /// What signatures over it are made for.
    namespace: Namespace,
    /// Whether a text is meant to be one.
    is_meant: fn(&str) -> bool,
    /// Reads it, to be shown.
    read: fn(&str, &InForce) -> Result<Shown, String>,
}

/// A document as it is shown to the person who signs it.
struct Shown {
    /// All of it.
    page: String,
    /// What the policies in force ask for.
    asked: Vec<String>,
}

/// Every kind there is.
const KINDS: &[Kind] = &[
    Kind { what: "plan", namespace: Namespace::Plan, is_meant: Plan::is_meant, read: read_plan },
    Kind { what: "request", namespace: Namespace::Override, is_meant: Request::is_meant, read: read_request },
    Kind { what: "review", namespace: Namespace::Review, is_meant: Review::is_meant, read: read_review },
];

fn read_request(text: &str, in_force: &InForce) -> Result<Shown, String> {
    let request = Request::from_file(text).map_err(|error| error.to_string())?;
    let subject = Subject { name: &request.runbook, labels: &request.labels };
    let kind = request.deviation.kind();
    let mut asked = Vec::new();
    if in_force.is_empty() {
        asked.push("no policy is in force here, so whose signatures count is not known here".to_owned());
    } else if request.policies != in_force.marks() {
        asked.push("note: the request was made under other policies than are in force here".to_owned());
    }
    match &request.asked_by.person {
        None if !in_force.is_empty() => asked.push("who asks is no person whom a policy knows".to_owned()),
        None => {}
        Some(person) => {
            let operator = in_force.policies().operated_by(person);
            let rule = request.asks.as_ref().map_or(StepRule::Unsaid, Asks::rule);
            match in_force.policies().override_needed(kind, &rule, subject, &operator) {
                Permission::Forbidden(why) => asked.push(why),
                Permission::Allowed(needed) => asked.extend(needed.iter().map(in_words)),
            }
        }
    }
    // Its own bytes: in the one form in which they are read, what hides or could be taken for something else stands as escapes.
    let head = format!("REQUEST FOR A DEVIATION: {}\n", reveal_line(&request.deviation.to_string()));
    Ok(Shown { page: format!("{head}{text}"), asked })
}

fn read_review(text: &str, _: &InForce) -> Result<Shown, String> {
    let review = Review::from_file(text).map_err(|error| error.to_string())?;
    let head = format!("REVIEW OF A RUN FOR WHICH THE GLASS WAS BROKEN: {}\n", review.run);
    let asked = vec![
        format!("read the run before you sign: interlock audit show {}", review.run),
        "one of those who were told has to sign it, and not who operated".to_owned(),
    ];
    Ok(Shown { page: format!("{head}{text}"), asked })
}

/// A rule, with those whose signatures count, and for how long.
fn in_words(rule: &Requirement) -> String {
    let who: Vec<&str> = rule.who.iter().map(Person::as_str).collect();
    format!("{}: {}; for {}", rule.rule, who.join(", "), duration::show(rule.quota.valid_for))
}

fn read_plan(text: &str, in_force: &InForce) -> Result<Shown, String> {
    let plan = Plan::from_file(text).map_err(|error| error.to_string())?;
    let Some(binding) = &plan.binding else {
        return Err("it is bound to nothing, so a signature over it would be worth nothing; write one with `interlock plan RUNBOOK -o \
                    FILE`"
            .to_owned());
    };
    let mut asked = Vec::new();
    if in_force.is_empty() {
        asked.push("no policy is in force here, so whose signatures count is not known here".to_owned());
    } else {
        asked.extend(in_force.differ_from(binding).map(|reason| format!("note: {reason}")));
        match &binding.asked_by.person {
            None => {
                asked.push("who asks is no person whom a policy knows, so nobody may run it as they are".to_owned())
            }
            Some(person) => match in_force.approvals_needed(&plan.runbook, &in_force.policies().operated_by(person)) {
                Err(why) => asked.push(why),
                Ok(needed) if needed.is_empty() => asked.push("no rule asks for signatures over it".to_owned()),
                Ok(needed) => asked.extend(needed.iter().map(in_words)),
            },
        }
        if let Some(person) = &binding.asked_by.person {
            let operator = in_force.policies().operated_by(person);
            let procedure = Procedure::new(plan.clone());
            for planned in &plan.deviations {
                let deviation = &planned.deviation;
                match permission(in_force, &procedure, deviation, &operator, Namespace::Plan) {
                    Err(why) => asked.push(format!("to {deviation}: {why}")),
                    Ok(needed) => {
                        asked.extend(needed.iter().map(|one| format!("to {deviation}: {}", in_words(one))));
                    }
                }
            }
        }
    }
    Ok(Shown { page: page(&plan, text), asked })
}

impl Approve {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let any = |text: &str| KINDS.iter().any(|kind| (kind.is_meant)(text));
        let source = read_source_or_plan(&self.document, any).map_err(|mistake| Failure::Wrong(mistake.message))?;
        let (name, text) = (self.document.display(), source.text());
        let Some(kind) = KINDS.iter().find(|kind| (kind.is_meant)(text)) else {
            return Err(Failure::Wrong(format!(
                "{name} is nothing that people sign; write the plan of a runbook with `interlock plan RUNBOOK -o FILE`"
            )));
        };
        let in_force = InForce::open(global, &place::who()?)?;
        let shown = (kind.read)(text, &in_force).map_err(|why| Failure::Wrong(format!("{name}: {why}")))?;
        let keygen = keygen()?;
        let surroundings = surroundings();
        let agent_key = self.key_of_agent(&keygen, &surroundings, &in_force)?;
        match global.format {
            Format::Human => put(&fold::for_stdout(&shown.page))?,
            // There it would be in the way of the data; but nobody is to sign what was not shown.
            Format::Json => say(&shown.page),
        }
        let asked: Vec<String> = shown.asked.iter().map(|one| reveal_line(one)).collect();
        say(&format!("\nthe policy in force:\n  {}", asked.join("\n  ")));
        self.consent(global, kind)?;
        let key = match (&agent_key, &self.key) {
            (Some(line), _) => Key::InAgent(line),
            (None, Some(file)) => Key::File(file),
            (None, None) => unreachable!("without a file it is a key of the agent"),
        };
        let armour = keygen
            .sign(key, kind.namespace.as_str(), text.as_bytes(), &surroundings)
            .map_err(|error| Failure::Wrong(error.to_string()))?;
        self.write(global, kind, &in_force, &keygen, text, &armour)
    }

    /// Whether the person agrees; asked with a word that nobody types by reflex.
    fn consent(&self, global: &Global, kind: &Kind) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if global.no_input || !prompt::somebody_is_there() {
            say(&format!(
                "interlock: there is no terminal to ask at; read the {} and say --yes to sign it without being asked",
                kind.what
            ));
            return Err(Failure::Said(Cause::PersonNeeded.exit_code()));
        }
        let (_withdraw, withdrawn) = prompt::withdrawal()
            .map_err(|error| Failure::Internal(format!("the question cannot be asked: {error}")))?;
        let question = prompt::Shown {
            text: format!("Do you approve this {}, to the byte?", kind.what),
            hint: format!("type `{WORD}` to sign it, or `no`"),
        };
        match prompt::ask(&question, |words| matches!(words.trim(), WORD | "no"), &withdrawn) {
            prompt::Answer::Words(words) if words.trim() == WORD => Ok(()),
            prompt::Answer::Words(_) | prompt::Answer::Nobody | prompt::Answer::Withdrawn => {
                say("interlock: not approved; nothing was signed");
                Err(Failure::Said(Cause::NotAllowed.exit_code()))
            }
        }
    }

    /// The public key of the agent that is to sign; none where the key is in a file.
    fn key_of_agent(
        &self,
        keygen: &Keygen,
        surroundings: &[(String, OsString)],
        in_force: &InForce,
    ) -> Result<Option<String>, Failure> {
        if let (Some(file), false) = (&self.key, self.agent) {
            std::fs::metadata(file).map_err(|error| Failure::Wrong(format!("--key {}: {error}", file.display())))?;
            return Ok(None);
        }
        let wrong = |message: String| Failure::Wrong(message);
        if let Some(file) = &self.key {
            let line =
                std::fs::read_to_string(file).map_err(|error| wrong(format!("--key {}: {error}", file.display())))?;
            if fingerprint(&line).is_none() {
                return Err(wrong(format!(
                    "--key {}: with --agent, this must be a public key, such as ~/.ssh/id_ed25519.pub",
                    file.display()
                )));
            }
            return Ok(Some(line));
        }
        let keys = keygen.keys_of_agent(surroundings).map_err(|error| wrong(error.to_string()))?;
        let known: Vec<&String> = keys.iter().filter(|line| in_force.is_empty() || is_known(in_force, line)).collect();
        match known.as_slice() {
            [one] => Ok(Some((*one).clone())),
            [] if keys.is_empty() => {
                Err(wrong("the agent has no key; add one with `ssh-add`, or name its file with --key".to_owned()))
            }
            [] => Err(wrong(
                "the agent has no key that the policy's signers file gives to anybody; name one with --agent --key FILE.pub"
                    .to_owned(),
            )),
            several => {
                let keys: Vec<String> = several
                    .iter()
                    .map(|line| {
                        let print = fingerprint(line).map(|print| print.to_string()).unwrap_or_default();
                        format!("{print} {}", line.split(' ').nth(2).unwrap_or_default().trim())
                    })
                    .collect();
                Err(wrong(format!(
                    "the agent has {} keys that could sign: {}; name one with --agent --key FILE.pub",
                    keys.len(),
                    keys.join(", ")
                )))
            }
        }
    }

    /// Writes the signature beside the document, after a look at whether it counts.
    fn write(
        &self,
        global: &Global,
        kind: &Kind,
        in_force: &InForce,
        keygen: &Keygen,
        text: &str,
        armour: &[u8],
    ) -> Result<ExitCode, Failure> {
        let claim = sshsig::read(armour)
            .map_err(|error| Failure::Wrong(format!("this key may not sign here: {error}; sign with another one")))?;
        let print = claim.key.key().fingerprint.clone();
        let checked = in_force.policies().check(keygen, text.as_bytes(), armour, kind.namespace, Utc::now());
        let mut person = None;
        for (one, policy) in checked.into_iter().zip(in_force.policies().iter()) {
            match one {
                Ok(counted) => {
                    let knows = counted.signature.person;
                    if let Some(said) = self.person.as_ref().filter(|said| **said != knows) {
                        return Err(Failure::Wrong(format!(
                            "the key {print} is that of {knows} in {}, not of {said}; nothing was written",
                            policy.name
                        )));
                    }
                    person = Some(knows);
                }
                Err(why) => {
                    say(&format!("interlock: warning: under {} the signature does not count: {why}", policy.name))
                }
            }
        }
        let signer = person.or_else(|| self.person.clone()).map_or_else(
            || print.to_string().trim_start_matches("SHA256:").chars().take(12).collect(),
            |person| person.to_string(),
        );
        let path = beside(&self.document, &signer);
        write_new(&path, armour)?;
        let (shown, digest) = (path.display().to_string(), Digest::of(text.as_bytes()));
        match global.format {
            Format::Json => {
                let line = serde_json::json!({
                    kind.what: self.document.display().to_string(), "sha256": digest, "signature": shown,
                    "key": print.to_string(), "signer": signer,
                });
                put(&format!("{line}\n"))?;
            }
            Format::Human => put(&format!("{}\n", escape_line(&shown)))?,
        }
        let document = self.document.display().to_string();
        let next = match Request::from_file(text) {
            Ok(request) => {
                let how = how_to_use(&request, &document);
                command(&std::iter::once("interlock").chain(how.iter().map(String::as_str)).collect::<Vec<_>>())
            }
            Err(_) => command(&["interlock", "run", &document]),
        };
        say(&format!(
            "interlock: signed by {signer} with {print}, over sha256 {digest}; with it beside the {}, go on with: {next}",
            kind.what,
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// `plan.yaml.amy@example.org.sig`; whatever could leave the folder or hide is a `-`.
fn beside(document: &Path, signer: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "@._+-".contains(c) { c } else { '-' };
    let mut name = document.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.sig", signer.chars().map(plain).collect::<String>()));
    document.with_file_name(name)
}

/// Writes a signature, whole or not at all, and never over another file.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    whole::write(path, bytes, Existing::Stays).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "; somebody signed already: check it, and move it away to sign anew",
            _ => "",
        };
        Failure::Wrong(format!("the signature cannot be written to {}: {error}{hint}", path.display()))
    })
}

fn surroundings() -> Vec<(String, OsString)> {
    let given = SURROUNDINGS.iter().filter_map(|name| std::env::var_os(name).map(|value| ((*name).to_owned(), value)));
    given.chain([("PATH".to_owned(), OsString::from("/usr/bin:/bin"))]).collect()
}

/// The key on a line of a `.pub` file, bare or of a certificate.
fn signing_key(line: &str) -> Option<SigningKey> {
    let blob = line.split([' ', '\t']).filter(|word| !word.is_empty()).nth(1)?;
    SigningKey::read(&base64(blob.trim_end().as_bytes()).ok()?).ok()
}

fn fingerprint(line: &str) -> Option<Fingerprint> {
    signing_key(line).map(|key| key.key().fingerprint.clone())
}

/// Whether a signers file gives the key to anybody.
fn is_known(in_force: &InForce, line: &str) -> bool {
    let Some(key) = signing_key(line) else { return false };
    in_force.policies().iter().flat_map(|policy| &policy.signers.lines).any(|line| match (line.role, &key) {
        (Role::Own, SigningKey::Plain(key)) => line.key.is(key),
        (Role::Authority, SigningKey::Certified(certificate)) => line.key.is(&certificate.authority),
        (Role::Own, SigningKey::Certified(_)) | (Role::Authority, SigningKey::Plain(_)) => false,
    })
}
