//! Arguments, one file a command, failures and exit codes. The doc comment of a command is its manual.

mod approvals;
mod approve;
mod audit;
mod bound;
mod check;
mod deviations;
mod explain;
mod failure;
mod gate;
mod given;
mod glass;
mod in_force;
mod keep;
mod kinds;
mod needed;
mod open_runs;
mod overrides;
mod own_word;
mod place;
mod plan;
mod policy;
mod rerun;
mod review;
mod run;
mod sinks;
mod stale_lock;
mod status;
mod take_over;
mod unlock;
mod unsettled;
mod waiting;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::TypedValueParser as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::cli::audit::{ExportFormat, ListFormat};
use crate::cli::failure::Failure;

/// Runs standard operating procedures step by step, and holds the facts that they need.
///
/// A runbook is a YAML file that says what is done, what must hold before and while it is done, and what must hold afterwards.
/// Interlock checks for itself, keeps checking while a step runs, skips nothing, and records every act in an audit log first.
#[derive(Debug, Parser)]
#[command(name = "interlock", version, max_term_width = 100)]
#[command(after_help = "Examples:
  interlock check runbooks/quickstart.yaml              is this runbook right?
  interlock plan runbooks/quickstart.yaml --now         what would be done, and what holds now?
  interlock run runbooks/quickstart.yaml                do it
  interlock plan change.yaml -o plan.yaml               write the plan down, for one run of it
  interlock approve plan.yaml                           read it, and sign it with your key
  interlock run plan.yaml                               run exactly that
  interlock run change.yaml -p port=5433 --no-input     do it without a terminal
  interlock status                                      what is halted, and what has it left out of service?
  interlock resume RUN                                  go on with a halted run
  interlock audit log                                   what was done on this machine?
  interlock audit verify                                was the record changed?

Exit codes: 0 completed, 1 internal error or the log cannot be used, 2 wrong runbook or arguments, 3 a required fact does not
hold, 4 not allowed, 5 a lock is held, 6 a person is needed, 7 a step failed, 8 a held fact broke, 9 undone, 10 undo failed,
11 the log does not verify, 12 interrupted, 13 completed with deviations. docs/recovery.md says what to do about each.")]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// Where the audit log and the runs are kept [default: /var/lib/interlock for root, else the user's state directory]
    #[arg(long, global = true, value_name = "DIR", env = "INTERLOCK_HOME")]
    home: Option<PathBuf>,
    /// A policy that is in force too, besides the machine's own and the one that INTERLOCK_POLICY names; may be given many times
    #[arg(long, global = true, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// How results are shown: lines for people, or one JSON object a line on standard output
    #[arg(long = "format", id = "format", global = true, value_name = "FORMAT", default_value = "human")]
    #[arg(value_parser = clap::builder::EnumValueParser::<Format>::new().map(AnyFormat::Usual))]
    given_format: AnyFormat,
    /// The same, of what every command knows.
    #[arg(skip)]
    format: Format,
    /// Never ask; refuse a run that needs a person who has not answered on the command line
    #[arg(long, global = true)]
    no_input: bool,
    /// When mistakes are shown in colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    #[default]
    Human,
    Json,
}

/// What `--format` can be. A command with formats of its own declares the option again, under the same id; clap wants one type for
/// both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnyFormat {
    /// Of those that every command has.
    Usual(Format),
    /// Of those of `audit export`, which are all for programs.
    Export(ExportFormat),
    /// Of those of `audit log`.
    List(ListFormat),
}

impl AnyFormat {
    /// What it is for everything but the data itself.
    fn usual(self) -> Format {
        match self {
            Self::Usual(format) => format,
            Self::Export(_) | Self::List(ListFormat::Json) => Format::Json,
            Self::List(ListFormat::Human | ListFormat::Csv) => Format::Human,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// The options of a command are put together when it is the one that is meant.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    Check(check::Check),
    Plan(plan::Plan),
    Approve(approve::Approve),
    Run(run::Run),
    Status(status::Status),
    Resume(open_runs::Resume),
    Undo(open_runs::Undo),
    Abandon(open_runs::Abandon),
    Override(overrides::Override),
    Unlock(unlock::Unlock),
    Review(review::Review),
    #[command(subcommand)]
    Audit(audit::Audit),
    Kinds(kinds::Kinds),
    #[command(subcommand)]
    Policy(policy::Policy),
}

/// Parses with every command put together: help, and what is said of a mistake, speak of them all.
fn parse_with_all() -> Result<Arguments, clap::Error> {
    let mut all = Arguments::command();
    all.build();
    let matches = all.try_get_matches()?;
    Arguments::from_arg_matches(&matches)
}

/// Runs the program: parses the arguments, carries out the command, and says what went wrong.
pub fn main() -> ExitCode {
    let mut arguments = match Arguments::try_parse().or_else(|_| parse_with_all()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A reader that is gone is no failure; clap's own exit code is 0 for help and 2 for a mistake.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    arguments.global.format = arguments.global.given_format.usual();
    let global = &arguments.global;
    let result = match &arguments.command {
        Command::Check(command) => command.go(global),
        Command::Plan(command) => command.go(global),
        Command::Approve(command) => command.go(global),
        Command::Run(command) => command.go(global),
        Command::Status(command) => command.go(global),
        Command::Resume(command) => command.go(global),
        Command::Undo(command) => command.go(global),
        Command::Abandon(command) => command.go(global),
        Command::Override(command) => command.go(global),
        Command::Unlock(command) => command.go(global),
        Command::Review(command) => command.go(global),
        Command::Audit(command) => command.go(global),
        Command::Kinds(command) => command.go(global),
        Command::Policy(command) => command.go(global),
    };
    result.unwrap_or_else(|failure: Failure| failure.report())
}
