//! `interlock kinds`.

use std::process::ExitCode;

use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::{escape_line, escape_text};
use crate::runbook::kinds::{Kind, Library};

/// Lists the built-in kinds of systems with their states and parameters.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock kinds                 all of them
  interlock kinds postgres        one, with how each of its states is told")]
pub struct Kinds {
    /// Only this kind, with the text that defines it
    kind: Option<String>,
}

impl Kinds {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let library = Library::built_in();
        let kinds = library.describe().map_err(|_| {
            Failure::Internal("a built-in kind is not right; this is a mistake of the program".to_owned())
        })?;
        match &self.kind {
            None => {
                for kind in &kinds {
                    show(global, kind)?;
                }
            }
            Some(name) => {
                let Some(kind) = kinds.iter().find(|kind| kind.name == *name) else {
                    let names: Vec<&str> = library.names().collect();
                    return Err(Failure::Wrong(format!("there is no kind `{name}`; there are {}", names.join(", "))));
                };
                show(global, kind)?;
                if let (Format::Human, Some(source)) = (global.format, library.source(name)) {
                    put(&format!("\n{}", escape_text(source.text())))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(global: &Global, kind: &Kind) -> Result<(), Failure> {
    if global.format == Format::Json {
        let states: Vec<_> =
            kind.states.iter().map(|(name, help)| serde_json::json!({"name": name, "help": help})).collect();
        let params: Vec<_> = kind
            .params
            .iter()
            .map(|param| {
                serde_json::json!({"name": param.name, "type": param.type_.in_words(), "default": param.default, "help": param.help})
            })
            .collect();
        let line = serde_json::json!({"kind": kind.name, "title": kind.title, "states": states, "params": params});
        return put(&format!("{line}\n"));
    }
    let mut text = format!("{}  {}\n", kind.name, escape_line(&kind.title));
    for (name, help) in &kind.states {
        text.push_str(&format!("    {:<10} {}\n", name.as_str(), escape_line(help)));
    }
    for param in &kind.params {
        let default = param
            .default
            .as_deref()
            .filter(|value| !value.is_empty())
            .map(|value| format!(" [default: {value}]"))
            .unwrap_or_default();
        let help = param.help.as_deref().unwrap_or_default();
        text.push_str(&format!("      {}: {}{}\n", param.name, escape_line(help), escape_line(&default)));
    }
    put(&text)
}
