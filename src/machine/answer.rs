//! What counts as an answer. A confirmation takes the expected words and nothing else; a manual task and `--step` take a word
//! that nobody types by reflex. Anything else is unclear, and is asked again; silence is a no.

use crate::history::event::{Question, StopDecision};

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// Go on.
    Accepted,
    /// Halt.
    Declined,
    /// Neither: ask again.
    Unclear,
}

/// Judges what was typed. Only surrounding blanks are forgiven.
pub fn judge(question: Question, expect: Option<&str>, words: &str) -> Judgement {
    let words = words.trim();
    let accepted = match question {
        Question::Confirm => expect.is_some_and(|expect| expect.trim() == words),
        Question::Manual => words == "done",
        Question::GoOn => words == "go",
        Question::WhatNext => matches!(words, "retry" | "undo" | "halt") || accepted_because(expect, words).is_some(),
        Question::RunAgain => matches!(words, "again" | "leave"),
    };
    if accepted {
        Judgement::Accepted
    } else if declines(words) {
        Judgement::Declined
    } else {
        Judgement::Unclear
    }
}

/// Whether these words say no.
pub fn declines(words: &str) -> bool {
    matches!(words.trim(), "" | "no" | "n" | "halt" | "stop" | "quit")
}

/// Whether these words answer some question, or are typed by reflex: a name that is one of them permits nothing by being typed.
pub fn is_an_answer(words: &str) -> bool {
    let others = ["yes", "y", "ok", "done", "go", "retry", "undo", "again", "leave", "accept", "permit"];
    declines(words) || stop_decision(words).is_some() || others.contains(&words.trim())
}

/// The reason in `accept STEP REASON`, if that is what was typed and may be: `expect` is the step.
pub fn accepted_because<'a>(expect: Option<&str>, words: &'a str) -> Option<&'a str> {
    let rest = words.trim().strip_prefix("accept ")?.trim_start();
    let reason = rest.strip_prefix(expect?)?.strip_prefix([' ', '\t'])?.trim();
    (!reason.is_empty()).then_some(reason)
}

/// What is to be typed, in words for the prompt; `expect` as for [`judge`].
pub fn what_to_type(question: Question, expect: Option<&str>) -> String {
    if let (Question::WhatNext, Some(step)) = (question, expect) {
        return format!("type `retry`, `undo`, `halt` or `accept {step} REASON`");
    }
    let words = match question {
        Question::Confirm => "type the answer, or `no` to halt",
        Question::Manual => "type `done` when it is done, or `no` to halt",
        Question::GoOn => "type `go` to start it, or `no` to halt",
        Question::WhatNext => "type `retry`, `undo` or `halt`",
        Question::RunAgain => "type `again` to run it again, `leave` to go on without, or `no` to halt",
    };
    words.to_owned()
}

/// What to type when it is asked whether a running step is to be stopped.
pub const STOP_TO_TYPE: &str = "type `stop`, `finish` or `continue`";

/// What an answer to that question says; none if it is unclear. A `y` or `no` could mean either.
pub fn stop_decision(words: &str) -> Option<StopDecision> {
    match words.trim() {
        "stop" | "s" => Some(StopDecision::Stop),
        "finish" | "f" => Some(StopDecision::Finish),
        "continue" | "c" => Some(StopDecision::Continue),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Judgement, STOP_TO_TYPE, is_an_answer, judge, stop_decision, what_to_type};
    use crate::history::event::Question;

    #[test]
    fn a_reflex_neither_stops_a_step_nor_lets_it_go_on() {
        for reflex in ["", "y", "yes", "n", "no", "ok", "halt"] {
            assert_eq!(stop_decision(reflex), None, "{reflex}");
        }
    }

    #[test]
    fn a_reflex_is_no_answer() {
        for reflex in ["y", "yes", "Y", "ok"] {
            assert_eq!(judge(Question::Confirm, Some("/srv/pg"), reflex), Judgement::Unclear, "{reflex}");
            assert_eq!(judge(Question::Manual, None, reflex), Judgement::Unclear, "{reflex}");
            assert_eq!(judge(Question::GoOn, None, reflex), Judgement::Unclear, "{reflex}");
        }
    }

    #[test]
    fn every_word_that_answers_a_question_is_known_as_one() {
        let questions = [Question::Confirm, Question::Manual, Question::GoOn, Question::WhatNext, Question::RunAgain];
        for question in questions {
            // The words between the backticks.
            let shown = what_to_type(question, None);
            let shown = shown.split('`').skip(1).step_by(2);
            for word in shown.chain(STOP_TO_TYPE.split('`').skip(1).step_by(2)) {
                assert!(is_an_answer(word), "{word}");
            }
        }
        assert!(is_an_answer("y") && !is_an_answer("change"));
    }

    #[test]
    fn p05_a_step_is_accepted_only_by_its_id_and_with_a_reason() {
        let judged = |words| judge(Question::WhatNext, Some("change"), words);
        assert_eq!(judged("accept change looked at by hand"), Judgement::Accepted);
        for words in ["accept", "accept change", "accept change  ", "accept chang it is fine", "accept changes fine"] {
            assert_eq!(judged(words), Judgement::Unclear, "{words}");
        }
        assert_eq!(judge(Question::WhatNext, None, "accept change fine"), Judgement::Unclear, "not theirs to say");
    }

    #[test]
    fn no_and_silence_decline() {
        for word in ["no", "", "  ", "n"] {
            assert_eq!(judge(Question::Manual, None, word), Judgement::Declined, "{word:?}");
        }
    }

    #[test]
    fn only_the_expected_words_confirm() {
        assert_eq!(judge(Question::Confirm, Some("/srv/pg"), " /srv/pg\n"), Judgement::Accepted);
        assert_eq!(judge(Question::Confirm, Some("/srv/pg"), "/srv/pg2"), Judgement::Unclear);
    }
}
