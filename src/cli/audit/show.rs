//! `interlock audit show`: the story of one run, as far as it is written, or while it is being written.

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::list::damaged;
use super::transcripts::{self, Shown};
use super::{and_archived, unreadable};
use crate::audit::{self, Home, Reader, WholeRun};
use crate::cli::failure::{Audience, Failure, put, put_to, say};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::escape_line;
use crate::driver::locks::Alive;
use crate::history::entry::Entry;
use crate::history::event::Event;
use crate::history::state::{Phase, State};
use crate::id::{Digest, RunId, StepId};
use crate::plan::{Plan, Procedure};
use crate::report::story::Teller;

/// How long nothing may come, in looks at the log, before it is asked whether anybody carries the run out.
const QUIET: u32 = 10;

/// The time between two looks at the log.
const PERIOD: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// How many letters a run's id has.
const WHOLE_ID: usize = 36;

/// How many of the runs that could be meant are named.
const NAMED: usize = 5;

/// Tells the story of a run: each step with its evidence, as it was recorded; waits, answers, approvals and overrides too.
///
/// Ends with 11 if the output of a step is missing or is not what the log recorded, else with 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit show last                         the run that began last
  interlock audit show 019a8f6e-…                   the whole id, or as much of it as is unique
  interlock audit show last --follow                what a run does, while it does it
  interlock audit show 019a8f6e --step change --output
  interlock audit show 019a8f6e --format json       the entries as they are logged")]
pub struct Show {
    /// The run's id, or the beginning of it; `last` is the run that began last
    run: String,
    /// Only what is about this step
    #[arg(long, value_name = "STEP")]
    step: Option<StepId>,
    /// The output of each step too, held against the digest that was recorded; what could act on a terminal is spelled out
    #[arg(long)]
    output: bool,
    /// Goes on with what comes, until the run is over or has halted; Ctrl-C ends it, and changes nothing
    #[arg(long)]
    follow: bool,
}

/// Whether the story goes on.
enum Next {
    /// It does.
    More,
    /// Nobody reads it any more.
    Enough,
}

/// The story as it is told.
struct Story<'a> {
    show: &'a Show,
    home: &'a Home,
    run: RunId,
    format: Format,
    teller: Teller,
    state: State,
    /// Whether its head was told.
    begun: bool,
    shown: Shown,
}

impl Show {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        if self.output && global.format == Format::Json {
            let hint = "the entries name the transcripts, which are asciicast files below the home";
            return Err(Failure::Wrong(format!("--output is text, and --format json has none: {hint}")));
        }
        let (found, end) = self.find(home)?;
        let entries: Vec<(String, Entry)> = found
            .lines
            .iter()
            .map(|line| {
                let entry = line.entry().map_err(|problem| damaged(line.seq, &problem))?;
                Ok((line.text().to_owned(), entry))
            })
            .collect::<Result<_, Failure>>()?;
        let procedure = match (global.format, plan_digest(&entries)) {
            (Format::Human, Some(digest)) => plan_of(home, &found.run, digest)?,
            (Format::Human | Format::Json, _) => None,
        };
        self.look_for_step(&entries, procedure.as_ref())?;
        let mut story = Story {
            show: self,
            home,
            run: found.run,
            format: global.format,
            teller: Teller::new(procedure.map(Arc::new)),
            state: State::default(),
            begun: false,
            shown: Shown::AsRecorded,
        };
        for (line, entry) in &entries {
            if let Next::Enough = story.tell(line, entry)? {
                return Ok(story.exit_code());
            }
        }
        if self.follow {
            story.follow(end)?;
        }
        Ok(story.exit_code())
    }

    /// The run that is meant, and the end of the log as it was then.
    fn find(&self, home: &Home) -> Result<(WholeRun, Reader), Failure> {
        let mut runs = audit::runs(home).map_err(unreadable)?;
        let mut matching: Vec<WholeRun> = Vec::new();
        while let Some(some) = runs.more().map_err(unreadable)? {
            let fits = |run: &WholeRun| self.run == "last" || run.run.as_str().starts_with(&self.run);
            matching.extend(some.into_iter().filter(fits));
            if self.run == "last" {
                matching.truncate(1);
                break;
            }
            if (self.run.len() == WHOLE_ID && !matching.is_empty()) || matching.len() > NAMED {
                break;
            }
        }
        match matching.as_slice() {
            [_] => {}
            [] if self.run == "last" => {
                return Err(Failure::Wrong(format!("there are no runs yet{}", and_archived(home))));
            }
            [] => {
                let hint = "`interlock audit log` lists them";
                return Err(Failure::Wrong(format!("there is no run `{}`; {hint}{}", self.run, and_archived(home))));
            }
            several => {
                let named: Vec<&str> = several.iter().take(NAMED).map(|run| run.run.as_str()).collect();
                return Err(Failure::Wrong(format!(
                    "`{}` fits more than one run; give more of the id: {}{}",
                    self.run,
                    named.join(", "),
                    if several.len() > NAMED { ", …" } else { "" }
                )));
            }
        }
        Ok((matching.remove(0), runs.into_end()))
    }

    /// A step that is not of this run is a mistake, not an empty story.
    fn look_for_step(&self, entries: &[(String, Entry)], procedure: Option<&Procedure>) -> Result<(), Failure> {
        let Some(step) = &self.step else { return Ok(()) };
        let mut known: Vec<&StepId> = procedure.into_iter().flat_map(Procedure::steps).map(|step| &step.id).collect();
        for at in entries.iter().filter_map(|(_, entry)| entry.event.step()) {
            if !known.contains(&at) {
                known.push(at);
            }
        }
        if known.contains(&step) || (self.follow && procedure.is_none()) {
            return Ok(());
        }
        let named: Vec<&str> = known.iter().map(|step| step.as_str()).collect();
        Err(Failure::Wrong(format!("the run has no step `{step}`; its steps are: {}", named.join(", "))))
    }
}

impl Story<'_> {
    fn tell(&mut self, line: &str, entry: &Entry) -> Result<Next, Failure> {
        let illegal = self.state.apply(&entry.event).err();
        if self.show.step.as_ref().is_some_and(|step| entry.event.step() != Some(step)) {
            return Ok(Next::More);
        }
        let mut text = String::new();
        match self.format {
            Format::Json => text.push_str(&format!("{line}\n")),
            Format::Human => {
                if !self.begun {
                    let date = escape_line(entry.time.as_str().get(..10).unwrap_or_default()).into_owned();
                    text.push_str(&format!("run {}, {date}\n", self.run));
                    self.begun = true;
                }
                let time = entry.time.as_str().get(11..23).unwrap_or_default();
                for (at, line) in self.teller.tell(entry).iter().enumerate() {
                    let margin = if at == 0 { escape_line(time).into_owned() } else { " ".repeat(12) };
                    text.push_str(&format!("{margin}  {line}\n"));
                }
                if let Some(illegal) = illegal {
                    let what = escape_line(&illegal.0).into_owned();
                    text.push_str(&format!("              ! THIS CANNOT HAVE HAPPENED HERE: {what}\n"));
                }
            }
        }
        let mut audience = put_to(&text)?;
        if let (true, Event::StepEnded { output: Some(output), .. }) = (self.show.output, &entry.event) {
            let (shown, still) = transcripts::show(self.home, &self.run, output)?;
            audience = still;
            if shown == Shown::NotAsRecorded {
                self.shown = shown;
            }
        }
        Ok(match audience {
            Audience::There => Next::More,
            Audience::Gone => Next::Enough,
        })
    }

    /// Tells what comes, until the run is over or nobody listens. Reads only: it holds no lock and keeps nobody from anything.
    fn follow(&mut self, mut end: Reader) -> Result<(), Failure> {
        let mut quiet = 0;
        loop {
            end.look_again();
            for found in end.by_ref() {
                let recorded = found.map_err(unreadable)?.recorded;
                if recorded.entry.run.as_ref() == Some(&self.run) {
                    quiet = 0;
                    if let Next::Enough = self.tell(&recorded.line, &recorded.entry)? {
                        return Ok(());
                    }
                }
            }
            if let Phase::Over(_) = self.state.phase {
                return Ok(());
            }
            quiet += 1;
            if quiet == QUIET && Alive::is_taken(&self.home.run(&self.run)) == Some(false) {
                say(
                    "interlock: nobody carries this run out now; its story goes on when somebody takes it up (`interlock status`)",
                );
            }
            if is_gone_after(&PERIOD)? {
                return Ok(());
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self.shown {
            Shown::AsRecorded => ExitCode::SUCCESS,
            Shown::NotAsRecorded => ExitCode::from(11),
        }
    }
}

/// Waits, and says whether whoever reads standard output went away meanwhile.
fn is_gone_after(period: &Timespec) -> Result<bool, Failure> {
    let stdout = std::io::stdout();
    let mut watched = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut watched, Some(period)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Failure::Internal(format!("standard output cannot be watched: {error}"))),
    }
    Ok(watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL))
}

/// The digest of the plan that a run was opened with.
fn plan_digest(entries: &[(String, Entry)]) -> Option<&Digest> {
    entries.iter().find_map(|(_, entry)| match &entry.event {
        Event::RunOpened { plan, .. } => Some(plan),
        _ => None,
    })
}

/// The plan of a run, if it still lies beside the log as it was recorded.
fn plan_of(home: &Home, run: &RunId, digest: &Digest) -> Result<Option<Procedure>, Failure> {
    let path = home.run(run).join("plan.yaml");
    let Ok(bytes) = std::fs::read(&path) else {
        put(&format!("      the plan is not in {} any more, so titles are missing\n", path.display()))?;
        return Ok(None);
    };
    if Digest::of(&bytes) != *digest {
        put(&format!("      {} IS NOT THE PLAN THAT WAS RUN: its digest is not the recorded one\n", path.display()))?;
        return Ok(None);
    }
    let plan = String::from_utf8(bytes).ok().and_then(|text| Plan::from_yaml(&text).ok());
    Ok(plan.map(Procedure::new))
}
