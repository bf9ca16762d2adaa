//! `interlock policy`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::explain::Explain;
use crate::cli::failure::{Failure, put};
use crate::cli::given::show;
use crate::cli::{Format, Global, in_force};
use crate::consent::policy::{MACHINE, Policy as Rules};
use crate::diagnostic::escape::escape_line;
use crate::report::story::count;

/// Looks at the policy: who may approve, override and operate here.
#[derive(Debug, Subcommand)]
pub enum Policy {
    Check(Check),
    Explain(Explain),
}

/// Checks a policy with the files it names: every mistake at once, with its place.
///
/// The files are read as a run reads them: what somebody else could have changed is refused. Without FILE, the policies in force are
/// checked: the machine's own, /etc/interlock/policy.yaml, the one that INTERLOCK_POLICY names, and those of --policy.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock policy check                                the policies in force
  interlock policy check ./policy.yaml                  one that is being written
  interlock policy check ./policy.yaml --format json | jq .code

Exit codes: 0 nothing wrong, 2 something is. docs/policy.md describes every key.")]
pub struct Check {
    /// The policy, a YAML file [default: those in force]
    file: Option<PathBuf>,
}

impl Policy {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        match self {
            Self::Check(check) => check.go(global),
            Self::Explain(explain) => explain.go(global),
        }
    }
}

impl Check {
    fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let files = match &self.file {
            Some(file) => vec![file.clone()],
            None => in_force(global)?,
        };
        let trust = in_force::trust();
        let mut code = ExitCode::SUCCESS;
        for file in files {
            match Rules::open(&file, trust) {
                Ok(opened) => {
                    for findings in &opened.warnings {
                        show(global, &findings.source, &findings.diagnostics)?;
                    }
                    put(&summary(global, &opened.policy))?;
                }
                Err(found) => {
                    for findings in &found {
                        show(global, &findings.source, &findings.diagnostics)?;
                    }
                    code = ExitCode::from(2);
                }
            }
        }
        Ok(code)
    }
}

/// The policies in force: the machine's own cannot be passed over.
fn in_force(global: &Global) -> Result<Vec<PathBuf>, Failure> {
    let files = in_force::files(global)?;
    if files.is_empty() {
        return Err(Failure::Wrong(format!(
            "no policy is in force: there is no {MACHINE}, and neither INTERLOCK_POLICY nor --policy names one; to check another, name its \
             file"
        )));
    }
    Ok(files)
}

fn summary(global: &Global, policy: &Rules) -> String {
    if global.format == Format::Json {
        let object = serde_json::json!({
            "policy": policy.name,
            "digest": policy.digest,
            "number": policy.number,
            "signers": {"file": policy.signers.source.name(), "digest": policy.signers.digest},
            "revoked": policy.revoked.as_ref().map(|revoked| &revoked.digest),
            "groups": policy.groups,
            "operators": policy.operators,
        });
        return format!("{object}\n");
    }
    let mut text = format!(
        "{}: nothing wrong: number {}, {}, {}, {}, {}, {}\n",
        escape_line(&policy.name),
        policy.number,
        count(policy.people.len(), "person", "persons"),
        count(policy.groups.len(), "group", "groups"),
        count(policy.operators.len(), "operator", "operators"),
        count(policy.approvals.len(), "rule of approvals", "rules of approvals"),
        count(policy.overrides.len(), "rule of overrides", "rules of overrides"),
    );
    // The gap that is easily overlooked.
    if policy.approvals.iter().all(|rule| rule.subject.name.is_some() || !rule.subject.labels.is_empty()) {
        text.push_str("  a run that no rule of `approvals` is about needs no approval\n");
    }
    text
}
