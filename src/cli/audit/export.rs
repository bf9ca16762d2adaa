//! `interlock audit export`: the entries for other tools, in order, as they are read. Memory does not grow with the log.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, TypedValueParser as _};

use super::unreadable;
use crate::audit::{self, Home, ReadError, Recorded};
use crate::cli::AnyFormat;
use crate::cli::failure::Failure;
use crate::history::event::Event;
use crate::id::RunId;
use crate::report::export::{cloudevent, csv, csv_header, ocsf};

/// Writes the entries for other tools: a SIEM, a spreadsheet, an event bus.
///
/// Entries come in order, the oldest first, and each only if the chain up to it is whole: where it is broken the export ends with exit
/// code 1, and what was exported is as it was logged up to there. To fetch only what is new, keep the last `seq` and give it with --after
/// the next time. docs/audit.md describes each format.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit export > log.jsonl                              the entries as they are logged, byte for byte
  interlock audit export --after 1234 --format cloudevents        what came after entry 1234
  interlock audit export --format ocsf | vector --config siem.toml
  interlock audit export --run 019a8f6e --format csv -o run.csv   one run, for a spreadsheet

Exit codes: 0 all there is was written, 1 the log cannot be read on or the output cannot be written, 2 wrong arguments.")]
pub struct Export {
    /// In which form: the lines as logged, RFC 4180, OCSF 1.7 events, or CloudEvents 1.0
    #[arg(long = "format", id = "format", value_name = "FORMAT", default_value = "jsonl")]
    #[arg(value_parser = EnumValueParser::<ExportFormat>::new().map(AnyFormat::Export))]
    format: AnyFormat,
    /// Only the entries after this one
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only the entries of this run: its id, or the beginning of it
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The forms that entries can be exported in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The lines as they are logged
    Jsonl,
    /// A table with a header, RFC 4180
    Csv,
    /// Events of the Open Cybersecurity Schema Framework 1.7, one a line
    Ocsf,
    /// Events of CloudEvents 1.0 in JSON, one a line
    Cloudevents,
}

/// Whether somebody reads what is written.
pub(super) enum Reader {
    Listens,
    IsGone,
}

impl Export {
    pub(super) fn go(&self, home: &Home) -> Result<ExitCode, Failure> {
        let format = match self.format {
            AnyFormat::Export(format) => format,
            // `interlock --format json audit export`
            AnyFormat::Usual(_) | AnyFormat::List(_) => ExportFormat::Jsonl,
        };
        let run = self.run.as_deref().map(|run| super::which::find(home, run)).transpose()?;
        let entries = audit::read(home).map_err(unreadable)?;
        match &self.output {
            None => self.write(entries, format, run.as_ref(), &mut io::stdout().lock()),
            Some(path) => {
                let failed = |error: io::Error| {
                    Failure::Wrong(format!("{} cannot be made: {error}; give a name that is not there", path.display()))
                };
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
                let result = self.write(entries, format, run.as_ref(), &mut &made);
                File::sync_all(&made).map_err(unwritable)?;
                result
            }
        }
    }

    fn write(
        &self,
        entries: audit::Reader,
        format: ExportFormat,
        run: Option<&RunId>,
        to: &mut dyn Write,
    ) -> Result<ExitCode, Failure> {
        let mut to = BufWriter::with_capacity(128 * 1024, to);
        let mut log = String::new();
        let mut last = 0;
        if format == ExportFormat::Csv && matches!(written(to.write_all(csv_header().as_bytes()))?, Reader::IsGone) {
            return Ok(ExitCode::SUCCESS);
        }
        for found in entries {
            let Recorded { entry, line } = match found {
                Ok(found) => found.recorded,
                Err(error) => {
                    written(to.flush())?;
                    return Err(ended(&error, last));
                }
            };
            if let Event::LogCreated { log: named, .. } = &entry.event {
                log.clone_from(named);
            }
            last = entry.seq;
            if entry.seq <= self.after || run.is_some_and(|run| entry.run.as_ref() != Some(run)) {
                continue;
            }
            let text = match format {
                ExportFormat::Jsonl => line + "\n",
                ExportFormat::Csv => csv(&entry, &line),
                ExportFormat::Ocsf => ocsf(&log, env!("CARGO_PKG_VERSION"), &entry, &line) + "\n",
                ExportFormat::Cloudevents => cloudevent(&log, &entry, &line) + "\n",
            };
            if let Reader::IsGone = written(to.write_all(text.as_bytes()))? {
                return Ok(ExitCode::SUCCESS);
            }
        }
        written(to.flush())?;
        if last < self.after {
            return Err(Failure::Internal(format!(
                "the log ends with entry {last}, and --after says that there was an entry {}: its end was cut off, or this is another \
                 log. Run `interlock audit verify` with a checkpoint that was kept elsewhere",
                self.after
            )));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A reader that is gone has what it wanted; any other error is one.
pub(super) fn written(result: io::Result<()>) -> Result<Reader, Failure> {
    match result {
        Ok(()) => Ok(Reader::Listens),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::IsGone),
        Err(error) => Err(unwritable(error)),
    }
}

fn unwritable(error: io::Error) -> Failure {
    Failure::Internal(format!("the output cannot be written: {error}"))
}

/// The log could not be read to its end.
fn ended(error: &ReadError, last: u64) -> Failure {
    Failure::Internal(format!("{error}. The export ends with entry {last}; up to there it is what was logged"))
}
