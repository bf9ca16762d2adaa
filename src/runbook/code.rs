//! The stable codes of everything that can be wrong with a runbook or its parameters. A code never changes its meaning
//! and is never used again for another; docs/language.md lists them all.

pub use crate::yaml::code::{
    ANCHOR, DUPLICATE_KEY, EMPTY, KEY_SHAPE, MISSING_KEY, MORE, NAME, NO_VALUE, NOT_UTF8, NOT_YET, POINTLESS_KEY,
    SECOND_DOCUMENT, SYNTAX, TAG, TEMPLATE_PLACE, TOO_BIG, TWICE, UNFIT_CHARACTER, UNKNOWN_KEY, UNQUOTED_TEMPLATE,
    UNREADABLE, VERSION, WRONG_SHAPE, WRONG_VALUE, YES_NO,
};

/// No action in a step, or several.
pub const ACTION_COUNT: &str = "E0209";

/// A name in a template that nothing defines.
pub const UNDEFINED: &str = "E0301";
/// A template that cannot be read or rendered.
pub const TEMPLATE: &str = "E0302";
/// A secret where it could be seen.
pub const SECRET_PLACE: &str = "E0304";
/// A parameter put into the text of a script.
pub const SCRIPT_TEMPLATE: &str = "E0305";
/// A parameter declared in a way that contradicts itself.
pub const PARAMETER: &str = "E0306";
/// A value given for a parameter that the runbook does not have.
pub const GIVEN_UNKNOWN: &str = "E0307";
/// A given value that is not what its parameter takes.
pub const GIVEN_VALUE: &str = "E0308";
/// Double braces in the text of a script, which are not rendered.
pub const SCRIPT_BRACES: &str = "W0301";

/// A text that is not a fact.
pub const FACT: &str = "E0401";
/// A fact of a system that the runbook does not declare.
pub const UNKNOWN_SYSTEM: &str = "E0402";
/// A fact of a state that its system does not have.
pub const UNKNOWN_STATE: &str = "E0403";
/// A kind of system that there is not.
pub const UNKNOWN_KIND: &str = "E0404";
/// A kind that cannot be made from these parameters.
pub const KIND: &str = "E0405";

/// A step requires a state that an earlier step has ended.
pub const ENDED_BEFORE: &str = "E0501";
/// A step ends a state that is still held.
pub const ENDS_HELD: &str = "E0502";
/// A step, or the run, contradicts itself.
pub const CONTRADICTION: &str = "E0503";
/// A step requires a state while another of the same system is held.
pub const WHILE_OTHER_HELD: &str = "E0504";
/// A program that a step says it replaces, and that no later step executes.
pub const NOT_EXECUTED: &str = "W0505";

/// An undo requires a state that cannot hold when its turn comes.
pub const WAY_BACK: &str = "E0601";
/// A step that nothing takes back, in a runbook that has undos.
pub const NO_WAY_BACK: &str = "W0601";
