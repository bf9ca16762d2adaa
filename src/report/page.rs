//! A plan as a page for the people who sign it: who asks, for where and when, where the procedure is to be left, of each step exactly what
//! is executed, as whom, under which facts, and how it is taken back, and how each fact is told. Nothing that is executed is left out, and
//! every text of the plan goes through [`reveal_line`]: what hides, or could be taken for something else, is spelled out.

use crate::diagnostic::escape::reveal_line;
use crate::id::{Digest, Fact};
use crate::plan::{Plan, Planned, command_line};
use crate::runbook::model::{
    Action, Applies, IfEnsured, InDoubt, Leftovers, OnFailure, OverrideRule, SecretSource, Setting, Step, Text, WayBack,
};
use crate::runbook::{Value, duration};

/// The page of a plan with these bytes.
pub fn page(plan: &Plan, bytes: &str) -> String {
    let mut page = Page { text: String::new() };
    page.head(plan, bytes);
    for (at, step) in plan.runbook.steps.iter().enumerate() {
        page.step(plan, at, step);
    }
    page.facts(plan);
    page.text
}

struct Page {
    text: String,
}

impl Page {
    /// A line `name: value`, indented.
    fn line(&mut self, indent: usize, name: &str, value: &str) {
        self.text.push_str(&format!("{}{name}: {}\n", " ".repeat(indent), reveal_line(value)));
    }

    /// A text of several lines, each behind a mark, so that nothing in it can look like a part of the page.
    fn block(&mut self, indent: usize, name: &str, value: &str) {
        self.text.push_str(&format!("{}{name}:\n", " ".repeat(indent)));
        // Not `lines`, which drops a carriage return.
        for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
            self.text.push_str(&format!("{}│ {}\n", " ".repeat(indent), reveal_line(line)));
        }
    }

    fn head(&mut self, plan: &Plan, bytes: &str) {
        let runbook = &plan.runbook;
        let title = runbook.title.as_ref().map(|title| format!(": {title}")).unwrap_or_default();
        self.line(0, "plan", &format!("{}{title}", runbook.name));
        self.line(2, "sha256", Digest::of(bytes.as_bytes()).as_str());
        for planned in &plan.deviations {
            self.deviation(2, planned);
        }
        if let Some(binding) = &plan.binding {
            let person = binding.asked_by.person.as_ref().map(|person| format!("{person}, ")).unwrap_or_default();
            self.line(2, "asked by", &format!("{person}the user {}", binding.asked_by.user));
            self.line(2, "for", &format!("one run on `{}` (machine {})", binding.host, binding.machine));
            self.line(2, "made", binding.made.as_str());
            self.line(2, "window", &format!("from {} until {}", binding.valid_from, binding.valid_until));
            for mark in &binding.policies {
                self.line(2, "under the policy", &format!("number {}, sha256 {}", mark.number, mark.digest));
            }
            let log = binding.log.as_ref().map_or_else(
                || "there was none".to_owned(),
                |head| format!("{} entries, the last one's sha256 {}", head.entries, head.digest),
            );
            self.line(2, "audit log", &log);
        }
        self.line(2, "made from", &format!("{} (sha256 {})", plan.source, plan.source_digest));
        for (key, value) in &runbook.labels {
            self.line(2, "label", &format!("{key} = {value}"));
        }
        for (name, value) in &plan.params {
            let value = match value {
                Value::Text(text) => text.clone(),
                Value::Int(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
            };
            self.line(2, "parameter", &format!("{name} = {value}"));
        }
        for (name, source) in &plan.secrets {
            self.line(2, "secret", &format!("{name}, from {}", secret_in_words(source)));
        }
        for lock in &runbook.locks {
            self.line(2, "lock", lock);
        }
        self.facts_line(2, "requires, all the time", &runbook.requires);
        let on_failure = match runbook.on_failure {
            OnFailure::Halt => "halt, and a person decides",
            OnFailure::Undo => "take everything back",
        };
        self.line(2, "when a step fails", on_failure);
        self.overrides(2, &runbook.overrides);
    }

    fn deviation(&mut self, indent: usize, planned: &Planned) {
        self.line(indent, "DEVIATION", &format!("{}: {}", planned.deviation, planned.reason));
    }

    fn facts_line(&mut self, indent: usize, name: &str, facts: &[Fact]) {
        if !facts.is_empty() {
            let facts: Vec<String> = facts.iter().map(Fact::to_string).collect();
            self.line(indent, name, &facts.join(", "));
        }
    }

    fn step(&mut self, plan: &Plan, at: usize, step: &Step) {
        let title = step.title.as_ref().map(|title| format!("  {}", reveal_line(title))).unwrap_or_default();
        self.text.push_str(&format!("\n[{}/{}] {}{title}\n", at + 1, plan.runbook.steps.len(), step.id));
        for planned in plan.deviations.iter().filter(|planned| planned.deviation.step() == Some(&step.id)) {
            self.deviation(4, planned);
        }
        if let Some(when) = &step.when {
            let values: Vec<String> = when.values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            let applies = match when.applies {
                Applies::Yes => "it is done",
                Applies::No => "it is NOT done",
                Applies::Unknown => "whether it is done is told later",
            };
            self.line(4, "when", &format!("{} ({}): {applies}", when.expression, values.join(", ")));
        }
        if let Some(note) = &step.note {
            self.block(4, "note", note);
        }
        self.facts_line(4, "requires", &step.requires);
        if let Some(confirm) = &step.confirm {
            self.line(4, "asks", &format!("{} (the answer: {})", confirm.ask, confirm.expect));
        }
        let executes = plan.programs.steps.get(&step.id);
        self.action(4, &step.action, plan, executes.and_then(|executes| executes.action.as_deref()));
        self.line(4, "at most", &duration::show(step.timeout));
        self.facts_line(4, &format!("ensures, within {}", duration::show(step.within)), &step.ensures);
        if step.if_ensured == IfEnsured::Pass {
            self.line(4, "if that holds already", "nothing is done");
        }
        for path in &step.replaces {
            self.line(4, "replaces", &path.display().to_string());
        }
        if let Some(retry) = &step.retry {
            let every = duration::show(retry.every);
            self.line(4, "retried", &format!("{} times, after {every}, times {} each", retry.times, retry.backoff));
        }
        match step.in_doubt {
            InDoubt::Ask => {}
            InDoubt::Retry => self.line(4, "in doubt", "it is attempted again"),
            InDoubt::Undo => self.line(4, "in doubt", "everything is taken back"),
        }
        self.overrides(4, &step.overrides);
        self.way_back(plan, &step.way_back, executes.and_then(|executes| executes.undo.as_deref()));
    }

    fn overrides(&mut self, indent: usize, rule: &OverrideRule) {
        let words = match rule {
            OverrideRule::Unsaid => return,
            OverrideRule::Never => "never".to_owned(),
            OverrideRule::Needs { need: Some(need), of } => format!("with {need} of `{of}` as well"),
            OverrideRule::Needs { need: None, of } => format!("with all of `{of}` as well"),
        };
        self.line(indent, "may be left out", &words);
    }

    fn way_back(&mut self, plan: &Plan, way_back: &WayBack, program: Option<&str>) {
        match way_back {
            WayBack::None => self.line(4, "way back", "none; it stays as it is"),
            WayBack::Irreversible => self.line(4, "way back", "NONE: it is irreversible"),
            WayBack::Undo(undo) => {
                self.text.push_str("    way back:\n");
                self.facts_line(6, "requires", &undo.requires);
                self.action(6, &undo.action, plan, program);
                self.line(6, "at most", &duration::show(undo.timeout));
                self.facts_line(6, &format!("ensures, within {}", duration::show(undo.within)), &undo.ensures);
            }
        }
    }

    fn action(&mut self, indent: usize, action: &Action, plan: &Plan, program: Option<&str>) {
        match action {
            Action::Run(run) => {
                self.line(indent, "executes", &command_line(&run.argv));
                self.setting(indent, &run.setting);
            }
            Action::Script(script) => {
                self.block(indent, "executes the script", &script.text);
                self.line(indent, "script's sha256", Digest::of(script.text.as_bytes()).as_str());
                self.setting(indent, &script.setting);
            }
            Action::Wait => self.line(indent, "does", "nothing but wait"),
            Action::Manual(task) => self.block(indent, "a person does", task),
        }
        let Some(program) = program else { return };
        let file = plan.programs.files.iter().find(|file| file.path == program);
        let interpreter = file.and_then(|file| file.interpreter.as_deref());
        for path in [Some(program), interpreter].into_iter().flatten() {
            if let Some(file) = plan.programs.files.iter().find(|file| file.path == path) {
                let what = if path == program { "program" } else { "interpreter" };
                self.line(indent, what, &format!("{} (sha256 {})", file.path, file.digest));
            }
        }
    }

    fn setting(&mut self, indent: usize, setting: &Setting) {
        let Setting { env, cwd, user, stdin, success, leftovers } = setting;
        if let Some(user) = user {
            self.line(indent, "as the user", user);
        }
        self.line(indent, "in the folder", &cwd.display().to_string());
        for (name, value) in env {
            self.line(indent, "with", &format!("{name} = {}", text_in_words(value)));
        }
        if let Some(stdin) = stdin {
            self.block(indent, "on standard input", &text_in_words(stdin));
        }
        if success.as_slice() != [0] {
            let codes: Vec<String> = success.iter().map(i32::to_string).collect();
            self.line(indent, "succeeds with", &codes.join(", "));
        }
        if *leftovers == Leftovers::Service {
            self.line(indent, "starts a service", "what it leaves running goes on");
        }
    }

    fn facts(&mut self, plan: &Plan) {
        if plan.runbook.systems.is_empty() {
            return;
        }
        let systems = plan.systems_to_yaml().expect("systems that were read from a plan can be written as one");
        self.text.push('\n');
        self.block(
            0,
            "how each fact is told (each `command` is executed, and again for as long as its fact is held)",
            &systems,
        );
    }
}

fn text_in_words(text: &Text) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Secret(template) => format!("(with a secret) {template}"),
    }
}

fn secret_in_words(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("the environment's {name}"),
        SecretSource::File(path) => format!("the file {}", path.display()),
        SecretSource::Command(argv) => format!("what this command writes: {}", command_line(argv)),
        SecretSource::Prompt(text) => format!("the person who operates: {text}"),
    }
}
