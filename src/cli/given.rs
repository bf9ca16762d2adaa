//! A runbook and its parameters, as the command line names them; shared by `check`, `plan` and `run`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, put};
use crate::cli::{Color, Format, Global};
use crate::diagnostic::json::to_json;
use crate::diagnostic::render::{Colour, render_all};
use crate::diagnostic::{Diagnostic, Source};
use crate::driver::programs::of_plan;
use crate::exec::program::Programs;
use crate::id::Digest;
use crate::plan::{self, Binding, Plan};
use crate::runbook::model::ParamType;
use crate::runbook::{Checked, Defaults, Given, check};
use crate::yaml::source::{read_source, read_source_or_plan};

/// A runbook and its parameters.
#[derive(Debug, clap::Args)]
pub struct GivenRunbook {
    /// The runbook, a YAML file
    pub runbook: PathBuf,
    /// The value of a parameter, as in `-p port=5433`; may be given many times
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// A YAML file with values of parameters, as in `port: 5433`; those on the command line win
    #[arg(long, value_name = "FILE")]
    pub params: Option<PathBuf>,
}

/// What stands in a file that is to be run.
#[derive(Debug)]
pub enum Document {
    /// A runbook.
    Runbook(Box<Read>),
    /// A plan.
    Plan {
        /// The file, to the byte.
        text: String,
        /// What it says.
        plan: Box<Plan>,
        /// What it is for.
        binding: Box<Binding>,
    },
}

/// A runbook that was read and checked.
#[derive(Debug)]
pub struct Read {
    /// Its text.
    pub source: Source,
    /// What the checker made of it.
    pub checked: Checked,
}

impl GivenRunbook {
    /// Reads and checks it; mistakes are shown, all of them, and end with exit 2. What it does not say is as the policies in force say.
    pub fn read(&self, global: &Global, defaults: Defaults) -> Result<Read, Failure> {
        let source = door(global, &self.runbook)?;
        self.check(global, source, defaults)
    }

    /// Reads the file, once, where it may also be a plan.
    pub fn read_also_plan(&self, global: &Global, defaults: Defaults) -> Result<Document, Failure> {
        let source = said(global, &self.runbook, read_source_or_plan(&self.runbook, Plan::is_meant))?;
        if !Plan::is_meant(source.text()) {
            return self.check(global, source, defaults).map(|read| Document::Runbook(Box::new(read)));
        }
        let name = source.name();
        if !self.param.is_empty() || self.params.is_some() {
            return Err(Failure::Wrong(format!(
                "{name} is a plan: its parameters have their values; to give others, make a new plan"
            )));
        }
        let plan = Plan::from_file(source.text()).map_err(|error| Failure::Wrong(format!("{name}: {error}")))?;
        match plan.binding.clone() {
            Some(binding) => {
                Ok(Document::Plan { text: source.text().to_owned(), plan: Box::new(plan), binding: Box::new(binding) })
            }
            None => Err(Failure::Wrong(format!(
                "{name} is a plan that is bound to nothing, so it could be run anywhere, at any time, again and again; write one with \
                 `interlock plan RUNBOOK -o FILE`"
            ))),
        }
    }

    fn check(&self, global: &Global, source: Source, defaults: Defaults) -> Result<Read, Failure> {
        let mut given = match &self.params {
            Some(path) => {
                let file = door(global, path)?;
                Given::from_file(&file).or_else(|mistakes| {
                    show(global, &file, &mistakes)?;
                    Err(Failure::Said(2))
                })?
            }
            None => Given::nothing(),
        };
        for argument in &self.param {
            given.add_argument(argument).or_else(|mistake| {
                show(global, &source, &[*mistake])?;
                Err(Failure::Said(2))
            })?;
        }
        given.defaults = defaults;
        match check(&source, &given) {
            Ok(checked) => {
                show(global, &source, &checked.warnings)?;
                Ok(Read { source, checked })
            }
            Err(mistakes) => {
                show(global, &source, &mistakes)?;
                Err(Failure::Said(2))
            }
        }
    }
}

impl Read {
    /// The plan, without a binding; refused while a parameter has no value. The digests of the programs are taken now.
    pub fn plan(self, programs: &Programs) -> Result<Plan, Failure> {
        let Checked { runbook, values, params, missing, .. } = self.checked;
        if !missing.is_empty() {
            let flags: Vec<String> = missing.iter().map(|name| format!("-p {name}=…")).collect();
            return Err(Failure::Wrong(format!(
                "{}: these parameters need a value: {}; give each with {}, or in a file with --params",
                self.source.name(),
                missing.join(", "),
                flags.join(" ")
            )));
        }
        Ok(Plan {
            interlock_plan: plan::VERSION,
            binding: None,
            deviations: Vec::new(),
            source: self.source.name().to_owned(),
            source_digest: Digest::of(self.source.text().as_bytes()),
            params: values,
            secrets: params
                .into_iter()
                .filter_map(|param| match param.type_ {
                    ParamType::Secret(source) => Some((param.name, source)),
                    ParamType::String
                    | ParamType::Int
                    | ParamType::Bool
                    | ParamType::Path
                    | ParamType::Port
                    | ParamType::Duration
                    | ParamType::Enum(_) => None,
                })
                .collect(),
            programs: of_plan(&runbook, programs),
            runbook,
        })
    }
}

/// Reads a file that a person wrote, or says what is wrong with it.
fn door(global: &Global, path: &Path) -> Result<Source, Failure> {
    said(global, path, read_source(path))
}

fn said(global: &Global, path: &Path, read: Result<Source, Box<Diagnostic>>) -> Result<Source, Failure> {
    read.or_else(|mistake| {
        show(global, &Source::new(path.display().to_string(), String::new()), &[*mistake])?;
        Err(Failure::Said(2))
    })
}

/// Shows mistakes and warnings: to people on standard error, or one object a line on standard output.
pub(super) fn show(global: &Global, source: &Source, found: &[Diagnostic]) -> Result<(), Failure> {
    if found.is_empty() {
        return Ok(());
    }
    match global.format {
        Format::Json => {
            let lines: String = found.iter().map(|one| format!("{}\n", to_json(one, source))).collect();
            put(&lines)
        }
        Format::Human => {
            // The renderer has escaped what the author wrote; its own colours must stay.
            let _ = std::io::stderr().write_all(render_all(found, source, colour(global)).as_bytes());
            Ok(())
        }
    }
}

fn colour(global: &Global) -> Colour {
    let wanted = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    if wanted { Colour::Always } else { Colour::Never }
}
