//! The stable codes of everything that can be wrong with a runbook or its parameters. A code never changes its meaning
//! and is never used again for another; docs/language.md lists them all.

/// Perhaps more mistakes than are shown.
pub const MORE: &str = "E0100";
/// The file cannot be read, is no regular file, or is too large.
pub const UNREADABLE: &str = "E0101";
/// The file is not UTF-8.
pub const NOT_UTF8: &str = "E0102";
/// A character that cannot be seen, or that acts on a terminal or on the direction of text.
pub const UNFIT_CHARACTER: &str = "E0103";
/// The file holds nothing.
pub const EMPTY: &str = "E0104";
/// The text is not YAML.
pub const SYNTAX: &str = "E0105";
/// The file holds more than one document.
pub const SECOND_DOCUMENT: &str = "E0106";
/// An anchor, an alias or a merge key.
pub const ANCHOR: &str = "E0107";
/// A tag.
pub const TAG: &str = "E0108";
/// A key that is not a single text.
pub const KEY_SHAPE: &str = "E0109";
/// A key written twice.
pub const DUPLICATE_KEY: &str = "E0110";
/// Nested too deeply, or too many values.
pub const TOO_BIG: &str = "E0111";
/// A template that is not in quotes.
pub const UNQUOTED_TEMPLATE: &str = "E0112";

/// A key that the language does not have.
pub const UNKNOWN_KEY: &str = "E0201";
/// A key that must be there and is not.
pub const MISSING_KEY: &str = "E0202";
/// A mapping, a list or a text where another of the three is expected.
pub const WRONG_SHAPE: &str = "E0203";
/// Nothing (`null`) where a value is expected.
pub const NO_VALUE: &str = "E0204";
/// A value that is not what its key takes.
pub const WRONG_VALUE: &str = "E0205";
/// `yes`, `no`, `on` or `off` for a boolean.
pub const YES_NO: &str = "E0206";
/// A part of the language that is not supported yet.
pub const NOT_YET: &str = "E0207";
/// A key that says nothing where it stands.
pub const POINTLESS_KEY: &str = "E0208";
/// No action in a step, or several.
pub const ACTION_COUNT: &str = "E0209";
/// Two things of one name, or a fact written twice.
pub const TWICE: &str = "E0210";
/// A version of the language that this program does not know.
pub const VERSION: &str = "E0211";
/// A text that cannot be a name.
pub const NAME: &str = "E0212";

/// A name in a template that nothing defines.
pub const UNDEFINED: &str = "E0301";
/// A template that cannot be read or rendered.
pub const TEMPLATE: &str = "E0302";
/// A template where the language renders none.
pub const TEMPLATE_PLACE: &str = "E0303";
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

/// An undo requires a state that cannot hold when its turn comes.
pub const WAY_BACK: &str = "E0601";
/// A step that nothing takes back, in a runbook that has undos.
pub const NO_WAY_BACK: &str = "W0601";
