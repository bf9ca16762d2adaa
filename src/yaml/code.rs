//! The stable codes of what can be wrong with any YAML file that people write. A code never changes its meaning and is never
//! used again for another; docs/language.md lists them all.

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
/// Two things of one name, or a fact written twice.
pub const TWICE: &str = "E0210";
/// A version of the language that this program does not know.
pub const VERSION: &str = "E0211";
/// A text that cannot be a name.
pub const NAME: &str = "E0212";
/// A template where the language renders none.
pub const TEMPLATE_PLACE: &str = "E0303";
