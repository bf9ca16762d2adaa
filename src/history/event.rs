//! What can happen, as it is written to the audit log. Serialised as `"event": <name>, "data": {…}` (adjacently tagged). A
//! name or a field, once released, keeps its meaning for ever; docs/audit-format.md describes each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::approval::{Approval, PolicyInForce};
use crate::history::deviation::{Deviation, Override};
use crate::history::each_once::each_once;
use crate::history::glass::Glass;
use crate::id::{Digest, Fact, Fingerprint, RunId, StepId};

/// What a probe says of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Positive evidence that it is so.
    Holds,
    /// Positive evidence that it is not so.
    Broken,
    /// It cannot be told. Counts as broken.
    Unknown,
}

/// What was seen of a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    /// The fact that was looked at.
    pub fact: Fact,
    /// What the look says.
    pub verdict: Verdict,
    /// What was seen, in words.
    pub evidence: String,
}

/// How the action of a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ending {
    /// The main process exited with this code.
    Exited {
        /// The exit code, 0 to 255.
        code: i32,
    },
    /// The main process was ended by this signal, which this program did not send.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran longer than its `timeout` and was ended.
    TimedOut,
    /// It was frozen and killed because a held fact broke.
    Stopped,
    /// It was ended because a person or the system asked the program to stop.
    Interrupted,
    /// Nothing was started.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// A person said that it is done.
    Attested,
    /// There was nothing to do but wait.
    NothingToDo,
}

/// The recorded output of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// How many bytes it wrote, both streams together, after masking of secrets and after what the policy removes was removed.
    pub bytes: u64,
    /// SHA-256 over the salt (32 raw bytes) and all these bytes in the order in which they were read.
    pub digest: Digest,
    /// Where the transcript is, relative to the home.
    pub transcript: String,
    /// How many bytes in the middle are left out of the transcript.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Why the transcript is not complete, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What the policy had removed from it; none if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted: Option<Redacted>,
}

/// What was removed from the output of a step by the `redact` rules of the policies in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redacted {
    /// How many pieces.
    pub count: u64,
    /// SHA-256 of the list of them.
    pub digest: Digest,
    /// Where the list is, relative to the home.
    pub file: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// How an answer reached the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// Typed at the terminal.
    Terminal,
    /// Given on the command line beforehand.
    CommandLine,
}

/// A question that is put to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The step's `confirm`: the answer must be the expected one.
    Confirm,
    /// The step's `manual` task: whether it was done.
    Manual,
    /// `run --step`: whether to go on with this step.
    GoOn,
    /// What to do about a step that failed: `retry`, `undo` or `halt`.
    WhatNext,
    /// Whether a step that was done is run again, because a fact that it had ensured is broken: `again`, `leave` or `halt`.
    RunAgain,
}

/// What was done about a signal that asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heed {
    /// It was obeyed.
    #[default]
    AtOnce,
    /// A person is asked what to do about the running step, which goes on meanwhile; nothing new starts before the answer.
    Asks,
}

impl Heed {
    /// Whether it is what goes without saying.
    pub fn is_at_once(&self) -> bool {
        *self == Self::AtOnce
    }
}

/// What a person who interrupted a running step wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopDecision {
    /// The step is ended now, with grace.
    Stop,
    /// The step may finish under its guards; then the run halts.
    Finish,
    /// The run goes on as if nobody had interrupted it.
    Continue,
}

/// In which direction a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Done.
    #[default]
    Forward,
    /// Taken back: its `undo`.
    Back,
    /// Done once more, after it had been done, because a fact that it had ensured was broken.
    Again,
}

impl Way {
    /// Whether it is the direction that goes without saying.
    pub fn is_forward(&self) -> bool {
        *self == Self::Forward
    }
}

/// On whose word something was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The runbook's written rule.
    Rule,
    /// A person, at the terminal or on the command line.
    Person,
}

/// Why a run was refused or halted: the kinds of ending that are not completion. Each has one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A required fact does not hold (exit 3).
    FactDoesNotHold,
    /// Approvals or an override are missing, invalid or not allowed (exit 4).
    NotAllowed,
    /// A lock is held by another run (exit 5).
    Locked,
    /// A person is needed and there is no terminal (exit 6).
    PersonNeeded,
    /// A step failed (exit 7).
    StepFailed,
    /// A held fact broke (exit 8).
    HoldBroken,
    /// A person declined or a signal came (exit 12).
    Interrupted,
    /// Going back failed too, or could not go all the way (exit 10).
    UndoFailed,
}

/// Whose claim stands in a lock, as it is written there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedBy {
    /// The run.
    pub run: RunId,
    /// The home that its log is in.
    pub home: String,
    /// Its runbook.
    pub runbook: String,
    /// Who had started it.
    pub user: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The first entry of a log.
    LogCreated {
        /// A random UUID that names this log.
        log: String,
        /// The version of the program.
        program: String,
        /// The public half of the key that signs its checkpoints, as verifiers of signed notes take it:
        /// `<name>+<fingerprint>+<key>`. None if none could be made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// A line that a crash had left unfinished was set aside.
    LogRepaired {
        /// The segment's file name.
        segment: String,
        /// Where in the segment the unfinished line began, in bytes.
        offset: u64,
        /// How long it was, in bytes.
        length: u64,
        /// SHA-256 of its bytes.
        digest: Digest,
        /// The file beside the log that keeps its bytes.
        kept_in: String,
    },
    /// The key that signs the log's checkpoints was replaced; from here on the new one signs. Of no run.
    LogKeyReplaced {
        /// The public half of the key that signed until then.
        old: String,
        /// The public half of the one that signs from then on.
        new: String,
        /// The old key's signature over the new one, in base64; none if the old one was lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Why, in the person's words.
        reason: String,
    },
    /// A person removed the lock of a run that is gone, so that neither it nor its log can free it. Of no run.
    LockRemoved {
        /// The lock's name.
        lock: String,
        /// Whose claim stood in it; none if it could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claimed_by: Option<ClaimedBy>,
        /// How the run was found to be gone.
        gone: String,
        /// Why, in the person's words.
        reason: String,
        /// SHA-256 of the bytes of the request by which it was permitted; none where no policy is in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Digest>,
        /// Set where no policy asks for signatures and the operator permitted it alone: how.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        self_approved: Option<AnsweredBy>,
        /// The persons who signed the request, each with an entry `approval_accepted` of no run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approved_by: Vec<String>,
        /// The policies in force.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyInForce>,
    },
    /// A person wanted to remove a lock, and was refused. Of no run.
    LockKept {
        /// The lock's name.
        lock: String,
        /// Whose claim stands in it; none if it was not looked at, or could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claimed_by: Option<ClaimedBy>,
        /// Why it was to be removed, in the person's words.
        reason: String,
        /// Why it was refused, as a kind.
        cause: Cause,
        /// Why it was refused, in words.
        why: String,
        /// The policies in force.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyInForce>,
    },
    /// A checkpoint of the log could not be handed on to a place that the policy names. Of no run.
    CheckpointSinkFailed {
        /// The place, as the policy has it.
        sink: String,
        /// How many entries the checkpoint speaks of.
        entries: u64,
        /// Why, in words.
        why: String,
        /// Whether no run begins without it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        required: bool,
    },
    /// The first entries of the log were moved out of the home, into an archive, before this one was written. Of no run.
    EntriesArchived {
        /// How many: all from the first of the log to this number are in archives from here on.
        entries: u64,
        /// The root of the tree over them.
        root: Digest,
        /// SHA-256 of the bytes of `audit/archived`, which stands for them in the home.
        base: Digest,
        /// The first of those that this archive holds; those before it are in the archives before it.
        first: u64,
        /// The folder that they were moved to.
        folder: String,
        /// How many segments they filled.
        segments: u64,
        /// How long these are, in bytes.
        bytes: u64,
        /// Why, in the person's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A command that the policy names was to be told of an entry, and was not. Of no run: it may be over by then.
    NotifyFailed {
        /// The run that the entry is of.
        of_run: RunId,
        /// The entry's number.
        of_entry: u64,
        /// What it says happened.
        of_event: String,
        /// The command.
        command: Vec<String>,
        /// Why, in words.
        why: String,
        /// Whether the run does not go on without it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        required: bool,
    },
    /// A run was refused before anything was started.
    RunRefused {
        /// The runbook's name.
        runbook: String,
        /// SHA-256 of the plan's bytes.
        plan: Digest,
        /// Why, as a kind.
        cause: Cause,
        /// Why, in words.
        reason: String,
        /// What was seen of the facts that the reason speaks of.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        seen: Vec<Sight>,
        /// The policies in force, if it was refused before its opening.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyInForce>,
    },
    /// A run began.
    RunOpened {
        /// The runbook's name.
        runbook: String,
        /// Its title, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Its labels.
        #[serde(default, deserialize_with = "each_once", skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// The file it was read from.
        source: String,
        /// SHA-256 of the plan's bytes; the plan lies in `runs/<run>/plan.yaml` of the home.
        plan: Digest,
        /// How many steps the plan has.
        steps: usize,
        /// What the run claims for itself alone, machine-wide.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        locks: Vec<String>,
        /// The policies in force, the machine's own first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyInForce>,
        /// How the processes of its steps are contained, in words.
        containment: String,
        /// How facts are watched, in words.
        watching: String,
        /// The version of the program.
        program: String,
    },
    /// A signature over the run's plan that counts, right after `run_opened` or `run_resumed`; or over a request for a deviation. Of no run
    /// where that is to remove a lock.
    ApprovalAccepted(Approval),
    /// The run goes on without the approvals that a policy asks for, in an emergency. Others are told when this is on disk.
    GlassBroken(Glass),
    /// Others were told of it, or could not be.
    GlassTold {
        /// The group that was to be told.
        tell: String,
        /// The command that was to tell them.
        command: Vec<String>,
        /// What went wrong, in words; none where it ended well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// The probes of the run, announced once before the first of them looks.
    WatchesArmed {
        /// Each fact with what is looked at, in words.
        facts: Vec<WatchedFact>,
    },
    /// A person answered as the step asks, so it may go on.
    Answered {
        /// The step.
        step: StepId,
        /// What kind of question it was.
        question: Question,
        /// The question as shown.
        ask: String,
        /// The answer as given.
        answer: String,
        /// How it came.
        by: AnsweredBy,
    },
    /// A person answered otherwise, or not at all, so the run halts.
    Declined {
        /// The step.
        step: StepId,
        /// What kind of question it was.
        question: Question,
        /// The question as shown.
        ask: String,
        /// The answer as given.
        answer: String,
        /// How it came.
        by: AnsweredBy,
    },
    /// A step is about to start. Durable before its process exists.
    StepIntended {
        /// The step.
        step: StepId,
        /// In which direction.
        #[serde(default, skip_serializing_if = "Way::is_forward")]
        way: Way,
        /// 1 for the first attempt.
        attempt: u32,
        /// What will be done, in words: the command line, the script's digest, or the manual task.
        action: String,
        /// The program file and its digest, for a step that runs one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<Program>,
        /// What was seen of each required fact.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        requires: Vec<Sight>,
        /// The facts that need not hold for this attempt, by an override each. They are watched all the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waived: Vec<Fact>,
    },
    /// The action of a step ended, one way or another.
    StepEnded {
        /// The step.
        step: StepId,
        /// In which direction.
        #[serde(default, skip_serializing_if = "Way::is_forward")]
        way: Way,
        /// Which attempt.
        attempt: u32,
        /// How.
        ending: Ending,
        /// How long it took, in microseconds.
        micros: u64,
        /// What it wrote, where it wrote anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Output>,
        /// Processes that were left when the main one had ended, each as `<pid> <name>`; at most 32 are named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leftovers: Vec<String>,
    },
    /// A step is done: its action succeeded and what it ensures was seen to hold.
    StepDone {
        /// The step.
        step: StepId,
        /// In which direction.
        #[serde(default, skip_serializing_if = "Way::is_forward")]
        way: Way,
        /// Which attempt.
        attempt: u32,
        /// What was seen of each fact it ensures.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ensures: Vec<Sight>,
        /// What the programs that it says it replaces are now, by their paths. Later steps that execute one are checked
        /// against this.
        #[serde(default, deserialize_with = "each_once", skip_serializing_if = "BTreeMap::is_empty")]
        replaced: BTreeMap<String, Fingerprint>,
    },
    /// A step's `ensures` held already, and it says `if_ensured: pass`: nothing was done.
    StepAlready {
        /// The step.
        step: StepId,
        /// What was seen of each fact it requires and ensures.
        seen: Vec<Sight>,
    },
    /// A step failed: its action did, or what it ensures did not come true.
    StepFailed {
        /// The step.
        step: StepId,
        /// In which direction.
        #[serde(default, skip_serializing_if = "Way::is_forward")]
        way: Way,
        /// Which attempt.
        attempt: u32,
        /// Why, in words.
        reason: String,
        /// What was seen of the facts it ensures, where they were looked at.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ensures: Vec<Sight>,
    },
    /// A step's own condition is not met: it is not applicable, and nothing is done.
    StepNotApplicable {
        /// The step.
        step: StepId,
        /// The condition, as it was written.
        expression: String,
        /// The values it was evaluated with.
        #[serde(deserialize_with = "each_once")]
        values: BTreeMap<String, String>,
    },
    /// Permission for a deviation was accepted. It is used by the event that makes the deviation.
    OverrideAccepted(Override),
    /// Permission for a deviation was asked for and refused: nothing of it was done.
    OverrideRefused {
        /// What was asked for.
        deviation: Deviation,
        /// Why it was asked for, in the words of who asked.
        reason: String,
        /// Who asked for it: the user, as the log names them.
        asked_by: String,
        /// SHA-256 of the request's bytes, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Digest>,
        /// Why it was refused, in words.
        why: String,
    },
    /// A step was not done, by an override. What it ensures is not taken as true.
    StepSkipped {
        /// The step.
        step: StepId,
    },
    /// A step that failed or is in doubt counts as done, by an override. What it ensures is not taken as true.
    StepAccepted {
        /// The step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
    },
    /// What a waived fact showed while the step ran.
    WaivedFactSeen {
        /// The step.
        step: StepId,
        /// What was seen.
        sight: Sight,
    },
    /// A step that failed, or is in doubt, is attempted again from its start.
    StepRetried {
        /// The step.
        step: StepId,
        /// On whose word.
        by: DecidedBy,
        /// How long is waited before, in milliseconds.
        pause_millis: u64,
    },
    /// A step that was done is run again, because a fact that it had ensured is broken: the events that follow and say
    /// `"way":"again"` are of it, until it is done.
    RerunBegan {
        /// The step.
        step: StepId,
        /// How a person asked for it.
        by: AnsweredBy,
        /// What was seen of each fact it ensures; one of them at least does not hold.
        seen: Vec<Sight>,
    },
    /// A step was to be run again, but everything that it had ensured holds, so it was not.
    RerunNotNeeded {
        /// The step.
        step: StepId,
        /// What was seen of each fact it ensures.
        seen: Vec<Sight>,
    },
    /// From here on every step that was done or begun is taken back, the last first.
    UndoBegan {
        /// On whose word.
        by: DecidedBy,
        /// Why, in words.
        reason: String,
        /// How many steps will be taken back.
        steps: usize,
        /// How many were done and will be left as they are, because the runbook does not say how to take them back.
        kept: usize,
    },
    /// A fact that was held broke, or could no longer be told.
    HoldBroken {
        /// What was seen.
        sight: Sight,
        /// The step that was running, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// How the watch learned of it, in words.
        told_by: String,
        /// From the moment the watch woke to the moment the fact was seen broken, in microseconds.
        look_micros: u64,
        /// From the moment the fact was seen broken to the moment the step's processes were frozen, in microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        freeze_micros: Option<u64>,
        /// Set when the watch was blind for this long, in milliseconds: it could have missed a break.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blind_millis: Option<u64>,
    },
    /// The command that gives a secret is about to run.
    SecretAsked {
        /// The parameter's name.
        name: String,
        /// The command.
        command: Vec<String>,
    },
    /// A signal asked the program to stop.
    SignalReceived {
        /// Its name, such as `SIGINT`.
        signal: String,
        /// The step that was running, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// What was done about it.
        #[serde(default, skip_serializing_if = "Heed::is_at_once")]
        heed: Heed,
    },
    /// The person who interrupted a running step said what is to become of it.
    StopDecided {
        /// The step.
        step: StepId,
        /// The question as shown.
        ask: String,
        /// The answer as given; empty where nobody gave one.
        answer: String,
        /// What follows from it.
        decision: StopDecision,
        /// How it came.
        by: AnsweredBy,
    },
    /// The run is halted.
    RunHalted {
        /// Why, as a kind.
        cause: Cause,
        /// Why, in words.
        reason: String,
        /// The step at which it stands, if it stands at one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// What was seen of the facts that the reason speaks of.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        seen: Vec<Sight>,
    },
    /// A run that had halted, or died, is taken up again, by the same plan.
    RunResumed {
        /// How the processes of its steps are contained now, in words.
        containment: String,
        /// How facts are watched now, in words.
        watching: String,
        /// The version of the program.
        program: String,
        /// Why another person than the one before took it over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_over: Option<String>,
        /// Processes of the step in doubt that were still there and were ended, each as `<pid> <name>`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ended: Vec<String>,
        /// The policies in force now, the machine's own first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyInForce>,
    },
    /// Somebody wanted to take the run up, or to give it up, and was not allowed to. Nothing of it changed.
    TakeUpRefused {
        /// What they asked for: `resume`, `undo` or `abandon`.
        command: String,
        /// Why not, in words.
        reason: String,
        /// The policies in force.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyInForce>,
    },
    /// Every step that was done or begun was taken back.
    RunUndone {
        /// How many steps were taken back.
        undone: usize,
        /// How many were left as they are, because the runbook does not say how to take them back.
        kept: usize,
    },
    /// A person gave the run up, as it stands.
    RunAbandoned {
        /// Why, in words.
        reason: String,
        /// How the step stands that nobody saw end, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_doubt: Option<StepId>,
    },
    /// Every step ended as written.
    RunCompleted {
        /// How many steps were done.
        done: usize,
        /// How many were already so.
        already: usize,
        /// How many were not applicable.
        #[serde(default, skip_serializing_if = "is_none")]
        not_applicable: usize,
        /// How many were skipped by an override.
        #[serde(default, skip_serializing_if = "is_none")]
        skipped: usize,
        /// How many did not end well and were accepted by an override.
        #[serde(default, skip_serializing_if = "is_none")]
        accepted: usize,
        /// How many deviations were made by override, of whatever kind. None: everything was done as written.
        #[serde(default, skip_serializing_if = "is_none")]
        deviations: usize,
        /// How long the run took, in microseconds.
        micros: u64,
    },
}

/// A fact and how it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedFact {
    /// The fact.
    pub fact: Fact,
    /// What is looked at, in words.
    pub probe: String,
    /// The commands that its probes run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Vec<String>>,
}

/// A program file, as it was right before it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// What the kernel executes for it, if it is a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<Interpreter>,
}

/// The interpreter that a script's first line names, as it was right before the script was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
}

impl Event {
    /// Whether it is about the log itself, and so of no run.
    pub fn is_of_the_log(&self) -> bool {
        matches!(
            self,
            Self::LogCreated { .. }
                | Self::LogRepaired { .. }
                | Self::LogKeyReplaced { .. }
                | Self::LockRemoved { .. }
                | Self::LockKept { .. }
                | Self::NotifyFailed { .. }
                | Self::CheckpointSinkFailed { .. }
                | Self::EntriesArchived { .. }
        )
    }
}

impl Cause {
    /// The exit code of a program that ends for this cause.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::FactDoesNotHold => 3,
            Self::NotAllowed => 4,
            Self::Locked => 5,
            Self::PersonNeeded => 6,
            Self::StepFailed => 7,
            Self::HoldBroken => 8,
            Self::Interrupted => 12,
            Self::UndoFailed => 10,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Broken => "does not hold",
            Self::Unknown => "cannot be told",
        })
    }
}
