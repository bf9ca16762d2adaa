//! What is asked of people while a run goes: each question has a number, so that an answer counts only while its question stands.

use std::collections::BTreeMap;

use crate::diagnostic::escape::escape_line;
use crate::driver::{Driver, Message};
use crate::history::event::{AnsweredBy, Question};
use crate::id::StepId;
use crate::machine::answer::{Judgement, STOP_TO_TYPE, judge, stop_decision, what_to_type};
use crate::machine::{Input, People, Reply};
use crate::terminal::prompt;

/// Why Ctrl-Z is not obeyed, and what to do instead.
const NOT_SUSPENDED: &str = "      Ctrl-Z does nothing here: a program that stands still watches nothing. Ctrl-C stops the run; for \
                             something else, use another terminal";

/// A question that stands.
pub(super) struct Standing {
    number: u64,
    /// None where the answer was given beforehand.
    prompt: Option<prompt::Withdraw>,
}

impl Standing {
    /// No answer to it counts any more.
    pub(super) fn withdraw(self) {
        if let Some(prompt) = self.prompt {
            prompt.now();
        }
    }
}

impl Driver {
    /// Asks what a step asks for, or takes the answer that was given beforehand.
    pub(super) fn ask(&mut self, step: &StepId, question: Question, ask: &str, expect: Option<String>) {
        let ask = match question {
            // These speak of what was seen; the others are the plan's.
            Question::WhatNext | Question::RunAgain => &self.censor.clean(ask),
            Question::Confirm | Question::Manual | Question::GoOn => ask,
        };
        if let People::Nobody(answers) = &self.run.settings.people {
            let given: &BTreeMap<StepId, String> = match question {
                Question::Confirm => &answers.confirm,
                Question::Manual => &answers.attest,
                Question::GoOn | Question::WhatNext | Question::RunAgain => {
                    unreachable!("without a terminal, `--step` is refused at the opening and a failure has its rule")
                }
            };
            let words = given.get(step).cloned().unwrap_or_default();
            let number = self.stand(None);
            let (step, ask, by) = (step.clone(), ask.to_owned(), AnsweredBy::CommandLine);
            let answer = Input::Answered(Reply { step, question, ask, words, by });
            self.sender.send(Message::Answer(number, answer)).expect("the driver holds the other end of its own inbox");
            return;
        }
        let hint = what_to_type(question, expect.as_deref());
        let is_clear = move |words: &str| judge(question, expect.as_deref(), words) != Judgement::Unclear;
        let (step, shown) = (step.clone(), ask.to_owned());
        let answered = move |words, by| Input::Answered(Reply { step, question, ask: shown, words, by });
        self.ask_at_the_terminal(ask, &hint, is_clear, answered);
    }

    /// Asks the person who interrupted the running step what is to become of it.
    pub(super) fn ask_to_stop(&mut self, ask: &str) {
        let is_clear = |words: &str| stop_decision(words).is_some();
        self.ask_at_the_terminal(ask, STOP_TO_TYPE, is_clear, |words, by| Input::StopAnswered { words, by });
    }

    fn ask_at_the_terminal(
        &mut self,
        ask: &str,
        hint: &str,
        is_clear: impl Fn(&str) -> bool + Send + 'static,
        input: impl FnOnce(String, AnsweredBy) -> Input + Send + 'static,
    ) {
        let pair = prompt::withdrawal().ok();
        let (withdraw, withdrawn) = pair.unzip();
        let number = self.stand(withdraw);
        let sender = self.sender.clone();
        let answered = move |answer: prompt::Answer| {
            let words = match answer {
                prompt::Answer::Words(words) => words,
                prompt::Answer::Nobody => String::new(),
                prompt::Answer::Withdrawn => return,
            };
            // The loop may be gone already.
            let _ = sender.send(Message::Answer(number, input(words, AnsweredBy::Terminal)));
        };
        let Some(withdrawn) = withdrawn else {
            answered(prompt::Answer::Nobody);
            return;
        };
        let shown = prompt::Shown { text: format!("? {}", escape_line(ask)), hint: hint.to_owned() };
        self.tell();
        let hold = self.display.hold();
        std::thread::spawn(move || {
            let answer = prompt::ask(&shown, is_clear, &withdrawn);
            drop(hold);
            answered(answer);
        });
    }

    /// Takes the next number for a question that stands now.
    fn stand(&mut self, prompt: Option<prompt::Withdraw>) -> u64 {
        self.questions += 1;
        self.question = Some(Standing { number: self.questions, prompt });
        self.questions
    }

    /// Whether the question with this number still stands.
    pub(super) fn is_asked(&self, number: u64) -> bool {
        self.question.as_ref().is_some_and(|question| question.number == number)
    }

    /// Ctrl-Z is not obeyed at any moment of a run: also between steps facts are held, and a watch that stood still was blind.
    pub(super) fn refuse_to_suspend(&mut self) {
        match self.question.as_ref().and_then(|question| question.prompt.as_ref()) {
            Some(prompt) => prompt.say(NOT_SUSPENDED),
            None => self.display.say(NOT_SUSPENDED),
        }
    }
}
