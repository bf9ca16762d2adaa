//! From a step of the plan to a process and back: opens its program, renders its secrets, starts it contained, and says how it
//! ended. Secrets live here and in the process's environment or input, nowhere else.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::programs::{Found, SHELL};
use crate::exec::capture::{CapturedEnding, run_captured};
use crate::exec::command::{Command, Stdin, User};
use crate::exec::containment::Containment;
use crate::exec::mask;
use crate::exec::process::{self, Control, Ended, Exit, Leftover, OnOutput, OutputPlan, RedactPlan, Running};
use crate::exec::program::{self, PATH, Programs};
use crate::exec::transcript::TranscriptPlan;
use crate::history::event::{Ending, Output, Program, Redacted, Way};
use crate::history::state::{State, StepStatus};
use crate::id::{Digest, RunId, StepId};
use crate::machine::People;
use crate::plan::{Plan, Procedure};
use crate::runbook::model::{Action, Leftovers, SecretSource, Text};
use crate::runbook::template::render_secret;
use crate::terminal::prompt;

/// The largest secret, in bytes.
const LONGEST_SECRET: u64 = 64 << 10;
/// How long the command that gives a secret may take.
const SECRET_TIMEOUT: Duration = Duration::from_secs(30);
/// How many processes are named when a step leaves some; the others are counted.
const NAMED: usize = 32;

/// The values of a run's secrets.
pub struct Secrets {
    values: BTreeMap<String, String>,
    /// Those that a command gives. It runs when the first step needs it, after the entry that announces it.
    commands: BTreeMap<String, Vec<String>>,
    masks: mask::Secrets,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.values.len() + self.commands.len())
    }
}

impl Secrets {
    /// Reads the secrets that need no command.
    ///
    /// # Errors
    /// In words, never with a value: a variable that is not set, a file that cannot be read, nobody to ask.
    pub fn read(sources: &BTreeMap<String, SecretSource>, people: &People) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        let mut commands = BTreeMap::new();
        for (name, source) in sources {
            let value = match source {
                SecretSource::Env(variable) => std::env::var(variable).map_err(|error| match error {
                    std::env::VarError::NotPresent => format!("the environment variable {variable} is not set"),
                    std::env::VarError::NotUnicode(_) => format!("the environment variable {variable} is not UTF-8"),
                }),
                SecretSource::File(path) => read_secret_file(path),
                SecretSource::Prompt(ask) => match people {
                    People::Terminal => prompt::ask_secret(&crate::diagnostic::escape::escape_line(ask))
                        .map_err(|error| error.to_string()),
                    People::Nobody(_) => Err("it is asked for at a terminal, and there is none".to_owned()),
                },
                SecretSource::Command(argv) => {
                    commands.insert(name.clone(), argv.clone());
                    continue;
                }
            };
            values.insert(name.clone(), value.map_err(|why| format!("the secret `{name}` cannot be had: {why}"))?);
        }
        let masks = masks_of(&values)?;
        Ok(Self { values, commands, masks })
    }

    /// What is masked in everything a step writes.
    pub fn masks(&self) -> mask::Secrets {
        self.masks.clone()
    }

    /// The commands that must still run before a step with secrets can start: name and command.
    pub fn commands_for(&self, action: &Action) -> Vec<(String, Vec<String>)> {
        let uses_secrets = action.setting().is_some_and(|setting| {
            setting.env.values().chain(&setting.stdin).any(|text| matches!(text, Text::Secret(_)))
        });
        if uses_secrets {
            self.commands.iter().map(|(name, argv)| (name.clone(), argv.clone())).collect()
        } else {
            Vec::new()
        }
    }

    /// Runs one of those commands, which must have been announced.
    ///
    /// # Errors
    /// In words, never with a value.
    pub fn run_command(&mut self, programs: &Programs, name: &str) -> Result<(), String> {
        let Some(argv) = self.commands.get(name) else { return Ok(()) };
        let value = secret_of_command(programs, argv)
            .map_err(|why| format!("the secret `{name}` cannot be had from `{}`: {why}", argv.join(" ")))?;
        self.commands.remove(name);
        self.values.insert(name.to_owned(), value);
        self.masks = masks_of(&self.values)?;
        Ok(())
    }
}

fn masks_of(values: &BTreeMap<String, String>) -> Result<mask::Secrets, String> {
    mask::Secrets::new(values.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .map_err(|error| error.to_string())
}

fn read_secret_file(path: &Path) -> Result<String, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let mut text = String::new();
    file.take(LONGEST_SECRET + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > LONGEST_SECRET {
        return Err(wrong("it is longer than 64 KiB".to_owned()));
    }
    Ok(without_final_newline(text))
}

fn secret_of_command(programs: &Programs, argv: &[String]) -> Result<String, String> {
    let (Some(name), cwd) = (argv.first(), Path::new("/")) else { return Err("it is empty".to_owned()) };
    let program = programs.find(name, PATH, cwd).map_err(|error| error.to_string())?;
    let command = Command {
        program,
        argv: argv.to_vec(),
        env: Vec::new(),
        cwd: cwd.to_owned(),
        user: User::current(),
        stdin: Stdin::Empty,
    };
    let limit = usize::try_from(LONGEST_SECRET).expect("64 KiB fit");
    let captured = run_captured(&command, SECRET_TIMEOUT, limit, None);
    match captured.ending {
        CapturedEnding::Exited(0) if captured.lost == 0 => String::from_utf8(captured.stdout)
            .map(without_final_newline)
            .map_err(|_| "what it wrote is not UTF-8".to_owned()),
        CapturedEnding::Exited(0) => Err("it wrote more than 64 KiB".to_owned()),
        CapturedEnding::Exited(code) => Err(format!("it exited with {code}")),
        CapturedEnding::Signalled(signal) => Err(format!("it was ended by signal {signal}")),
        CapturedEnding::TimedOut => Err("it took longer than 30 s".to_owned()),
        CapturedEnding::NotStarted(why) => Err(why),
    }
}

fn without_final_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// A step that can be started.
#[derive(Debug)]
pub struct Prepared {
    command: Command,
    /// The digests of what is executed.
    program: Program,
    /// What the kernel executes for a script, which it finds by its path.
    interpreter: Option<program::Program>,
    leftovers: Leftovers,
}

/// Puts the program of a step and its surroundings together; none for a step without a program.
///
/// # Errors
/// Why it cannot be started, in words.
pub fn prepare(
    procedure: &Procedure,
    step: usize,
    run: &RunId,
    secrets: &Secrets,
    found: Found,
    us: &User,
) -> Result<Option<Prepared>, String> {
    let step = &procedure.steps()[step];
    let (argv, setting) = match &step.action {
        Action::Run(run) => (run.argv.clone(), &run.setting),
        Action::Script(script) => {
            let words = [SHELL, "-eu", "-c", &script.text, step.id.as_str()];
            (words.map(str::to_owned).to_vec(), &script.setting)
        }
        Action::Wait | Action::Manual(_) => return Ok(None),
    };
    let program = found.program();
    let user = match &setting.user {
        Some(name) => User::named(name).map_err(|error| error.to_string())?,
        None => us.clone(),
    };
    let mut env = Vec::with_capacity(setting.env.len() + 2);
    for (name, text) in &setting.env {
        env.push((name.clone(), rendered(&procedure.plan, text, secrets)?));
    }
    env.push(("INTERLOCK_RUN".to_owned(), run.to_string()));
    env.push(("INTERLOCK_STEP".to_owned(), step.id.to_string()));
    let stdin = match &setting.stdin {
        Some(text) => Stdin::Bytes(rendered(&procedure.plan, text, secrets)?.into_bytes()),
        None => Stdin::Empty,
    };
    let Found { program: file, interpreter } = found;
    let command = Command { program: file, argv, env, cwd: setting.cwd.clone(), user, stdin };
    Ok(Some(Prepared { command, program, interpreter, leftovers: setting.leftovers }))
}

fn rendered(plan: &Plan, text: &Text, secrets: &Secrets) -> Result<String, String> {
    match text {
        Text::Plain(text) => Ok(text.clone()),
        Text::Secret(template) => {
            render_secret(template, &plan.params, &secrets.values).map_err(|error| error.to_string())
        }
    }
}

/// The name of an attempt: of its control group, its mark, and its files. The attempts of a step that is run again count on.
pub fn attempt_name(step: &StepId, way: Way, attempt: u32) -> String {
    match way {
        Way::Forward | Way::Again => format!("{step}-{attempt}"),
        Way::Back => format!("{step}-undo-{attempt}"),
    }
}

/// Ends what a run that died has left running of the steps that were open, and names it: of the step at which it stands, and of
/// one that was run again.
///
/// # Errors
/// Something of it could not be ended, in words.
pub fn end_left(containment: &Containment, state: &State) -> Result<Vec<String>, String> {
    let (inner, way) = state.back.as_deref().map_or((state, Way::Forward), |back| (back, Way::Back));
    let mut ended = end_left_of(containment, inner, way)?;
    if let Some(again) = state.again.as_ref().filter(|again| again.begun()) {
        ended.extend(end_left_of(containment, &again.run, Way::Again)?);
    }
    Ok(ended)
}

fn end_left_of(containment: &Containment, state: &State, way: Way) -> Result<Vec<String>, String> {
    let Some(open) = state.steps.last().filter(|step| step.attempts > 0) else { return Ok(Vec::new()) };
    if !matches!(open.status, StepStatus::Open | StepStatus::InDoubt) {
        return Ok(Vec::new());
    }
    let name = attempt_name(&open.id, way, open.attempts);
    let (ended, left) = containment
        .end_left_by(&name)
        .map_err(|error| format!("what step `{}` left running cannot be looked for: {error}", open.id))?;
    let named = |all: &[Leftover]| -> Vec<String> {
        all.iter().take(NAMED).map(|process| format!("{} {}", process.pid, process.name)).collect()
    };
    if left.is_empty() {
        return Ok(named(&ended));
    }
    Err(format!(
        "step `{}` was in flight when the run died, and SIGKILL does not end what is left of it: {}; end it first",
        open.id,
        named(&left).join(", ")
    ))
}

/// What a step is told about its output and its end.
pub struct Ends {
    /// Takes its masked output.
    pub on_output: OnOutput,
    /// Takes its end.
    pub on_end: Box<dyn FnOnce(Ended) + Send>,
}

/// What is taken out of all that a step writes.
pub struct TakenOut {
    /// The secrets.
    pub masks: mask::Secrets,
    /// What the policies in force remove, if they do.
    pub redact: Option<RedactPlan>,
}

/// Where the transcript of an attempt lies in the folder of its run.
pub fn transcript_of(folder: &Path, attempt: &str) -> PathBuf {
    folder.join(format!("{attempt}.cast"))
}

impl Prepared {
    /// The program and its digest, for the record.
    pub fn program(&self) -> Program {
        self.program.clone()
    }

    /// Starts it. `name` names the attempt; the transcript lies in `folder`.
    ///
    /// # Errors
    /// Why nothing was started, in words.
    pub fn start(
        &self,
        containment: &Containment,
        name: &str,
        folder: &Path,
        taken_out: TakenOut,
        ends: Ends,
    ) -> Result<Control, String> {
        if let Some(interpreter) = &self.interpreter {
            interpreter.check_path(self.command.user.uid).map_err(|error| error.to_string())?;
        }
        let output = OutputPlan {
            transcript: TranscriptPlan::at(transcript_of(folder, name)),
            secrets: taken_out.masks,
            redact: taken_out.redact,
            on_output: ends.on_output,
            // The end of the step says it too, and there it is recorded.
            on_trouble: Box::new(|_| {}),
            leftovers: match self.leftovers {
                Leftovers::Fail => process::Leftovers::Fail,
                Leftovers::Service => process::Leftovers::Service { output: folder.join(format!("{name}.out")) },
            },
        };
        process::start(containment, name, &self.command, output, ends.on_end)
            .map(|running: Running| running.control())
            .map_err(|error| error.to_string())
    }
}

/// How a step ended, for the machine.
#[derive(Debug)]
pub struct End {
    /// How.
    pub ending: Ending,
    /// How long it took.
    pub took: Duration,
    /// What it wrote.
    pub output: Option<Output>,
    /// What was left of it.
    pub leftovers: Vec<String>,
}

/// Puts the end of a process into the words of the record. `told` is the ending that it was given from here, if it was.
pub fn end_of(ended: Ended, told: Option<Ending>, home: &Path) -> End {
    let ending = told.unwrap_or(match ended.ending {
        Exit::Code(code) => Ending::Exited { code },
        Exit::Signal(signal) => Ending::Signalled { signal },
        Exit::StillThere => Ending::Interrupted,
    });
    let in_home = |path: &Path| path.strip_prefix(home).unwrap_or(path).display().to_string();
    let output = ended.output.map(|recorded| Output {
        bytes: recorded.bytes,
        digest: Digest::from_bytes(&recorded.digest),
        transcript: in_home(&recorded.path),
        left_out: recorded.left_out,
        trouble: recorded.trouble,
        redacted: recorded.removed.map(|removed| Redacted {
            count: removed.count,
            digest: Digest::from_bytes(&removed.digest),
            file: in_home(&removed.path),
        }),
    });
    let survivors =
        ended.survivors.iter().map(|process| format!("{} {} (SIGKILL did not end it)", process.pid, process.name));
    let left = ended.leftovers.iter().map(|process| format!("{} {}", process.pid, process.name));
    let mut leftovers: Vec<String> = survivors.chain(left).collect();
    if leftovers.len() > NAMED {
        let more = leftovers.len() - NAMED;
        leftovers.truncate(NAMED);
        leftovers.push(format!("and {more} more"));
    }
    End { ending, took: ended.duration, output, leftovers }
}
