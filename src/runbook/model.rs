//! The runbook as the rest of the program sees it: checked, with every template rendered (but for values that hold a
//! secret, which are rendered right before the start of their step). These types are also how a plan is written down,
//! so their serialised form is part of the plan format.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Fact, StateName, StepId, SystemName};

/// A runbook whose every value is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    /// Its name, for logs and policies.
    pub name: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Free labels, such as `env: production`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The systems whose states are facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub systems: BTreeMap<SystemName, System>,
    /// Facts that must hold from the opening to the end of the last step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Fact>,
    /// What a run claims for itself alone, machine-wide: names in their canonical form (no blanks at the ends, single ones
    /// inside, at most 200 bytes, no control characters), sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// What happens when a step fails and nobody decides.
    #[serde(default, skip_serializing_if = "OnFailure::is_default")]
    pub on_failure: OnFailure,
    /// Who may permit a deviation of any step that does not say it itself, or of the run.
    #[serde(default, rename = "override", skip_serializing_if = "OverrideRule::is_unsaid")]
    pub overrides: OverrideRule,
    /// What is done, in order. Blocks are laid out flat.
    pub steps: Vec<Step>,
}

/// What happens when a step fails and nobody decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run halts, and can be resumed.
    #[default]
    Halt,
    /// Every step that was done or begun is taken back.
    Undo,
}

/// A declared parameter of a runbook or of a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name: lower-case letters, digits and `_`, beginning with a letter.
    pub name: String,
    /// What values it takes.
    pub type_: ParamType,
    /// The value when none is given, as text in the parameter's own notation; `None` for one that must be given.
    pub default: Option<String>,
    /// One line for people.
    pub help: Option<String>,
}

/// The type of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamType {
    /// Any text without NUL.
    String,
    /// A whole number that fits 64 bits, signed.
    Int,
    /// `true` or `false`.
    Bool,
    /// An absolute path.
    Path,
    /// 1 to 65535.
    Port,
    /// Such as `90s` or `1h30m`.
    Duration,
    /// One of these words.
    Enum(Vec<String>),
    /// A value that must never be shown.
    Secret(SecretSource),
}

/// Where a secret comes from when a run starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// This environment variable of the operator's.
    Env(String),
    /// The content of this file, less one final newline.
    File(PathBuf),
    /// The standard output of this command, less one final newline.
    Command(Vec<String>),
    /// Asked for at the terminal, not echoed.
    Prompt(String),
}

/// Something whose state matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// The built-in kind it was made from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its states. They exclude each other.
    pub states: BTreeMap<StateName, State>,
}

/// How a state is told. A state has two sides: what must be seen before a step, and what is watched while it is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What must be seen for the fact to be established.
    pub before: Probe,
    /// What is watched for as long as the fact is held.
    #[serde(rename = "while")]
    pub held: Probe,
}

/// Which side of a state is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What must be seen before a step.
    Before,
    /// What is watched while the fact is held.
    While,
}

/// One look at the world. Its keys are those of the language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A process is there, or is not.
    Process(ProcessProbe),
    /// Something listens on a TCP port, or nothing does.
    Port(PortProbe),
    /// A file is there and is as described, or is not there.
    File(FileProbe),
    /// A server uses a data directory, or none does.
    DataDir(DataDirProbe),
    /// What a command's exit code and output say.
    Command(CommandProbe),
    /// All hold.
    All(Vec<Probe>),
    /// At least one holds.
    Any(Vec<Probe>),
    /// The other way round; unknown stays unknown.
    Not(Box<Probe>),
}

/// Which processes count, and whether one is to be there. All given conditions must match the same process; at
/// least one is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessProbe {
    /// The process whose id this file holds. A stale file (no such process) counts as no process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfile: Option<PathBuf>,
    /// Its executable file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<PathBuf>,
    /// The base name of its executable file (not the `comm` a process can choose).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Arguments that must stand in its command line, side by side and in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Whether such a process is to be there.
    pub state: Presence,
}

/// Whether a thing is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// There.
    Present,
    /// Not there.
    Absent,
}

/// A TCP port, seen by connecting to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortProbe {
    /// 1 to 65535.
    pub port: u16,
    /// A name or an address; `127.0.0.1` where the author gave none.
    pub host: String,
    /// What is to be seen.
    pub state: PortState,
    /// How long one look may take.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

/// What a port is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// A connection is accepted.
    Open,
    /// A connection is refused.
    Closed,
}

/// A file and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileProbe {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is to be there.
    pub state: Presence,
    /// Changed less than this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration_text")]
    pub newer_than: Option<Duration>,
    /// Changed more than this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration_text")]
    pub older_than: Option<Duration>,
    /// At least this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// Its permission bits, exactly (as in `0640`, kept as the number).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The user that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A text that stands in it (looked for in its first 16 MiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// Whether a server uses a data directory. See docs/language.md for what counts as use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDirProbe {
    /// The directory.
    pub path: PathBuf,
    /// Base names of the executables that count as its server.
    pub server: Vec<String>,
    /// What is to be seen.
    pub state: DataDirState,
}

/// What a data directory is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataDirState {
    /// A server uses it.
    InUse,
    /// No server uses it, and no process outside the running step has a file below it open for writing.
    Free,
}

/// A command that is asked. Exit codes in neither list, a signal and a time-out are unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandProbe {
    /// The program and its arguments; no shell.
    pub run: Vec<String>,
    /// Folders, or globs of folders, in which a program given without `/` is looked for before `PATH`; the last match of a glob
    /// in version order wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub look_in: Vec<String>,
    /// Exit codes that mean that the fact holds.
    pub holds: Vec<i32>,
    /// Exit codes that mean that it is broken.
    pub broken: Vec<i32>,
    /// A regular expression that the output must match for the fact to hold; if it does not match, the fact is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// The user it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How often it is asked while the fact is held.
    #[serde(with = "duration_text")]
    pub every: Duration,
    /// How long it may take.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its id.
    pub id: StepId,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A remark for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it does.
    pub action: Action,
    /// What must hold before it and for as long as it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Fact>,
    /// What must hold for it to count as done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ensures: Vec<Fact>,
    /// The program files that it changes or makes, which later steps execute: absolute paths without `.`, each once. What they are
    /// when it is done is what those steps are checked against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<PathBuf>,
    /// How long `ensures` may take to come true after the action.
    #[serde(with = "duration_text")]
    pub within: Duration,
    /// How long the action may take.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// What happens when `ensures` already hold.
    pub if_ensured: IfEnsured,
    /// What a person must type before it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// How it is taken back.
    #[serde(default, skip_serializing_if = "WayBack::is_default")]
    pub way_back: WayBack,
    /// How often it is attempted again when it fails; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The condition under which it is done at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What is done about it when it was in flight as the run died.
    #[serde(default, skip_serializing_if = "InDoubt::is_default")]
    pub in_doubt: InDoubt,
    /// Who may permit a deviation of it.
    #[serde(default, rename = "override", skip_serializing_if = "OverrideRule::is_unsaid")]
    pub overrides: OverrideRule,
}

/// Who may permit that a step, or the runbook, is left. It adds to what the policy asks for, and never takes from it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideRule {
    /// It does not say.
    #[default]
    Unsaid,
    /// Nobody.
    Never,
    /// These as well.
    Needs {
        /// How many; none for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        need: Option<usize>,
        /// Of which group of the policy.
        of: String,
    },
}

impl OverrideRule {
    /// Whether it says nothing.
    pub fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBack {
    /// The runbook does not say: undo passes over the step and leaves things as it made them.
    #[default]
    None,
    /// By this.
    Undo(Box<Undo>),
    /// Not at all: undo stops here, and a person confirms before the step starts.
    Irreversible,
}

/// What takes a step back. It gets nothing from its step or block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// What it does.
    pub action: Action,
    /// What must hold before it and for as long as it runs; looked at and held while undoing, not before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Fact>,
    /// What must hold for the step to count as undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ensures: Vec<Fact>,
    /// How long `ensures` may take to come true after the action.
    #[serde(with = "duration_text")]
    pub within: Duration,
    /// How long the action may take.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

/// How often, and after which pauses, a step that failed is attempted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How often it is attempted again after the first time, 1 to 100.
    pub times: u32,
    /// The pause before it is attempted for the second time.
    #[serde(with = "duration_text")]
    pub every: Duration,
    /// Each pause is this many times the one before; 1 to 10, where 1 leaves them all alike.
    pub backoff: u32,
}

/// A condition, with what was seen when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The expression, as it was written; with those of the blocks around it in front, joined by `and`.
    pub expression: String,
    /// Each parameter that it names and that has a value, as text.
    pub values: BTreeMap<String, String>,
    /// What came out.
    pub applies: Applies,
}

/// Whether a condition is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applies {
    /// It is.
    Yes,
    /// It is not: the step is not applicable.
    No,
    /// A parameter that it uses has no value yet. Never in a plan.
    Unknown,
}

/// What is done about a step that was in flight as the run died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InDoubt {
    /// A person decides.
    #[default]
    Ask,
    /// It is attempted again.
    Retry,
    /// It is undone. Only where there is an undo.
    Undo,
}

impl OnFailure {
    /// Whether it is what a runbook that does not say gets.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl InDoubt {
    /// Whether it is what a step that does not say gets.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl WayBack {
    /// Whether it is what a step that does not say gets.
    pub fn is_default(&self) -> bool {
        match self {
            Self::None => true,
            Self::Undo(_) | Self::Irreversible => false,
        }
    }

    /// The undo, if there is one.
    pub fn undo(&self) -> Option<&Undo> {
        match self {
            Self::Undo(undo) => Some(undo),
            Self::None | Self::Irreversible => None,
        }
    }
}

impl Step {
    /// Whether it is to be done. A step whose condition is not met is not, and its facts do not count; one whose
    /// condition cannot be told yet counts as done.
    pub fn is_applicable(&self) -> bool {
        self.when.as_ref().is_none_or(|when| when.applies != Applies::No)
    }
}

impl Retry {
    /// The pause before it is attempted for the `again`-th time after the first, counted from 1. Never overflows.
    pub fn pause(&self, again: u32) -> Duration {
        self.every.saturating_mul(self.backoff.saturating_pow(again.saturating_sub(1)))
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs a program: the argument list, no shell.
    Run(RunAction),
    /// Runs a shell text.
    Script(ScriptAction),
    /// Does nothing but wait for `ensures`, for as long as `timeout` allows.
    Wait,
    /// A person does this and says so.
    Manual(String),
}

impl Action {
    /// What surrounds the program that it starts; none for what starts none.
    pub fn setting(&self) -> Option<&Setting> {
        match self {
            Action::Run(run) => Some(&run.setting),
            Action::Script(script) => Some(&script.setting),
            Action::Wait | Action::Manual(_) => None,
        }
    }
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunAction {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Where and as whom.
    pub setting: Setting,
}

/// A shell text to run with `/bin/sh -eu`. Parameters reach it as environment variables of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptAction {
    /// The text, verbatim; nothing is ever substituted into it.
    pub text: String,
    /// Where and as whom.
    pub setting: Setting,
}

/// The surroundings of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Environment variables besides the clean base environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
    /// The working directory; `/` where none is given.
    pub cwd: PathBuf,
    /// The user it runs as; the operator where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it reads on standard input; nothing where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Text>,
    /// Exit codes that count as success; never empty.
    pub success: Vec<i32>,
    /// What becomes of processes that are left when the main one has ended.
    pub leftovers: Leftovers,
}

/// A value for `env` or `stdin`, the only places where a secret may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// This text.
    Plain(String),
    /// A template that names a secret: kept as it was written, and rendered right before the start, in memory only.
    Secret(String),
}

/// What becomes of processes that are left when the main process of a step has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// They are named and ended, and the step fails.
    Fail,
    /// The step starts a service: on success they are named and let go.
    Service,
}

/// What happens when a step's `ensures` hold already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfEnsured {
    /// The step runs all the same.
    Run,
    /// The step counts as already so.
    Pass,
}

/// A typed confirmation: a question whose answer must be read somewhere, not a reflex `y`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The question.
    pub ask: String,
    /// The only answer that lets the step start.
    pub expect: String,
}

/// Durations as people write them: `500ms`, `90s`, `1h30m`.
pub mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::runbook::duration;

    /// Writes it as text.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::show(*value))
    }

    /// Reads it from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration::parse(&text).map_err(D::Error::custom)
    }
}

/// The same for a value that may be missing.
pub mod optional_duration_text {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::duration_text;

    /// Writes it as text; a missing one is skipped by its field's attribute.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration_text::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads it from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        duration_text::deserialize(deserializer).map(Some)
    }
}
