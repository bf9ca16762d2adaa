//! Templates: Jinja, strict, bounded. A scalar that contains `{{` or `{%` is a template and is rendered once, with the
//! parameters as its only names; what comes out is never looked at again. There are `{% if %}` and `{% raw %}`, a few
//! filters and no functions, loops, assignments or multiplication, so that no template can outgrow its parameters by
//! much.

mod parts;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

use self::parts::{PartKind, Parts, joins};
use super::params::Value;
use crate::diagnostic::suggest;

pub use self::parts::{first_word, word_in_template};

/// The longest template, in bytes.
pub const LONGEST: usize = 64 << 10;
/// The longest text that a template may become, in bytes: the longest argument that Linux takes.
pub const LONGEST_RENDERED: usize = 128 << 10;
/// The longest expression or statement, in bytes. What reads them calls itself for each part, and has a stack.
pub const LONGEST_PART: usize = 2 << 10;
/// How many different templates one file may hold.
pub const MOST: usize = 50_000;
/// How many bytes all templates of one file may become together, each as often as it is used.
pub const MOST_RENDERED: usize = 16 << 20;
/// How many statements one template may hold.
const MOST_STATEMENTS: usize = 200;
/// How many `~`, `+` and filters one template may hold: each makes a new text.
const MOST_JOINS: usize = 100;
/// How many bytes of text one template may handle on its way, at worst, and all of one file together.
const MOST_HANDLED: usize = 16 << 20;
const MOST_HANDLED_TOGETHER: usize = 256 << 20;
/// Instructions that one rendering may take.
const FUEL: u64 = 50_000;
/// The filters that templates have.
pub const FILTERS: [&str; 6] = ["basename", "dirname", "lower", "replace", "trim", "upper"];

const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "raw", "endraw"];

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// A value.
    Known(Value),
    /// A parameter that has no value yet. The value is a placeholder of its type.
    Missing(Value),
    /// A secret, whose value is not known before a step starts.
    Secret,
}

/// What a template became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// This text.
    Known(String),
    /// It depends on a parameter that has no value yet.
    Unknown,
    /// It depends on a secret.
    Secret,
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The parameters that it names, in order.
    pub names: Vec<String>,
    /// What came out.
    pub verdict: Verdict,
}

/// What came out of an expression that is a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// True.
    Met,
    /// False.
    NotMet,
    /// It depends on a parameter that has no value yet.
    Unknown,
    /// It depends on a secret.
    Secret,
    /// It is neither true nor false, but something of this kind.
    Other(ValueKind),
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What kind of mistake it is.
    pub kind: MistakeKind,
    /// In words.
    pub message: String,
    /// Which part of the template's text, in bytes; `None` for all of it.
    pub range: Option<Range<usize>>,
    /// What to do next.
    pub help: Option<String>,
}

/// Kinds of mistakes in templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MistakeKind {
    /// A name that nothing defines.
    Undefined,
    /// Anything else.
    Template,
}

/// Why a text with a secret could not be rendered. Says nothing of any value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a template that uses a secret cannot be rendered: {0}; run `interlock check` on the runbook")]
pub struct SecretTemplateError(String);

/// Renders templates with one set of names.
pub struct Templates {
    environment: Environment<'static>,
    bindings: BTreeMap<String, Binding>,
    context: minijinja::Value,
    cache: HashMap<String, Result<Rendered, Vec<Mistake>>>,
    /// How many bytes templates may still become.
    left_to_render: usize,
    /// How many bytes of text they may still handle.
    left_to_handle: usize,
}

/// Renders a template that uses secrets, right before the start of its step.
///
/// # Errors
/// When it is not a valid template or names something that is in neither map. The message holds no value.
pub fn render_secret(
    template: &str,
    values: &BTreeMap<String, Value>,
    secrets: &BTreeMap<String, String>,
) -> Result<String, SecretTemplateError> {
    let wrong = |why: &str| SecretTemplateError(why.to_owned());
    if let Some(mistake) = unsupported(template) {
        return Err(wrong(&mistake.message));
    }
    let plain = values.iter().map(|(name, value)| (name.clone(), jinja_value(value)));
    let secret = secrets.iter().map(|(name, value)| (name.clone(), minijinja::Value::from(value.as_str())));
    let context: BTreeMap<String, minijinja::Value> = plain.chain(secret).collect();
    let rendered = environment().render_str(template, minijinja::Value::from(context));
    // An error of the template engine may quote a value, so only its kind is passed on.
    let rendered = rendered.map_err(|error| wrong(&error.kind().to_string()))?;
    if rendered.contains('\0') {
        return Err(wrong("the result holds a NUL character"));
    }
    Ok(rendered)
}

impl Templates {
    /// With these names.
    pub fn new(bindings: BTreeMap<String, Binding>) -> Self {
        let values = bindings.iter().map(|(name, binding)| {
            let value = match binding {
                Binding::Known(value) | Binding::Missing(value) => jinja_value(value),
                Binding::Secret => minijinja::Value::from("secret"),
            };
            (name.clone(), value)
        });
        let context = minijinja::Value::from(values.collect::<BTreeMap<_, _>>());
        let mut environment = environment();
        environment.set_debug(true);
        let (left_to_render, left_to_handle) = (MOST_RENDERED, MOST_HANDLED_TOGETHER);
        Self { environment, bindings, context, cache: HashMap::new(), left_to_render, left_to_handle }
    }

    /// What this name stands for.
    pub fn binding(&self, name: &str) -> Option<&Binding> {
        self.bindings.get(name)
    }

    /// All names, in order.
    pub fn bindings(&self) -> &BTreeMap<String, Binding> {
        &self.bindings
    }

    /// Renders one text.
    ///
    /// # Errors
    /// Every undefined name of it, or else the first other mistake.
    pub fn render(&mut self, text: &str) -> Result<Rendered, Vec<Mistake>> {
        let rendered = match self.cache.get(text) {
            Some(known) => known.clone(),
            None if self.cache.len() == MOST => {
                return Err(vec![whole(
                    format!("there are more than {MOST} different templates"),
                    "split the runbook",
                )]);
            }
            None => {
                let rendered = self.render_afresh(text);
                self.cache.insert(text.to_owned(), rendered.clone());
                rendered
            }
        };
        if let Ok(Rendered::Known(text)) = &rendered {
            let Some(left) = self.left_to_render.checked_sub(text.len()) else {
                let message = format!("all templates together become longer than {} MiB", MOST_RENDERED >> 20);
                return Err(vec![whole(message, "put long texts into files, and their paths into the runbook")]);
            };
            self.left_to_render = left;
        }
        rendered
    }

    fn render_afresh(&mut self, text: &str) -> Result<Rendered, Vec<Mistake>> {
        if let Some(mistake) = unsupported(text) {
            return Err(vec![mistake]);
        }
        let template = self.environment.template_from_str(text).map_err(|error| vec![engine_mistake(&error, text)])?;
        let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        names.sort();
        let undefined: Vec<Mistake> = names
            .iter()
            .filter(|name| !self.bindings.contains_key(*name))
            .map(|name| self.undefined(name, text))
            .collect();
        if !undefined.is_empty() {
            return Err(undefined);
        }
        handle(&self.bindings, &mut self.left_to_handle, text, &names)?;
        let uses = |wanted: fn(&Binding) -> bool| names.iter().any(|name| self.bindings.get(name).is_some_and(wanted));
        let secret = uses(|binding| *binding == Binding::Secret);
        let missing = uses(|binding| matches!(binding, Binding::Missing(_)));
        match template.render(self.context.clone()) {
            Err(error) if (secret || missing) && !is_static(&error) => {
                Ok(if secret { Rendered::Secret } else { Rendered::Unknown })
            }
            Err(error) => Err(vec![engine_mistake(&error, text)]),
            Ok(_) if secret => Ok(Rendered::Secret),
            Ok(_) if missing => Ok(Rendered::Unknown),
            Ok(rendered) if rendered.len() > LONGEST_RENDERED => Err(vec![whole(
                format!("the template becomes longer than {} KiB", LONGEST_RENDERED >> 10),
                "put long texts into a file, and its path into the runbook",
            )]),
            Ok(rendered) => Ok(Rendered::Known(rendered)),
        }
    }

    /// Decides an expression, written without delimiters.
    ///
    /// # Errors
    /// Every undefined name of it, or else the first other mistake.
    pub fn decide(&mut self, expression: &str) -> Result<Decision, Vec<Mistake>> {
        const OPEN: &str = "{{ ";
        if let Some(at) = ["{{", "}}", "{%", "%}", "{#", "#}"].iter().find_map(|braces| expression.find(braces)) {
            return Err(vec![Mistake {
                kind: MistakeKind::Template,
                message: "a condition holds no delimiters of templates".to_owned(),
                range: Some(at..at + 2),
                help: Some("write the expression alone: `port == 5432`".to_owned()),
            }]);
        }
        let shifted = |mut mistake: Mistake| {
            let shift = |at: usize| at.saturating_sub(OPEN.len()).min(expression.len());
            mistake.range = mistake.range.map(|range| shift(range.start)..shift(range.end));
            mistake
        };
        let template = format!("{OPEN}{expression} }}}}");
        if let Some(mistake) = unsupported(&template) {
            return Err(vec![shifted(mistake)]);
        }
        let wrong = |error: &Error| {
            let mut mistake = engine_mistake(error, expression);
            mistake.message =
                mistake.message.replacen("the template cannot be rendered", "the condition cannot be read", 1);
            if error.kind() == ErrorKind::SyntaxError {
                mistake.help = Some("a condition is an expression such as `port == 5432 and not fast`".to_owned());
            }
            vec![mistake]
        };
        let compiled = self.environment.compile_expression(expression).map_err(|error| wrong(&error))?;
        let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        names.sort();
        let undefined = names.iter().filter(|name| !self.bindings.contains_key(*name));
        let undefined: Vec<Mistake> = undefined.map(|name| shifted(self.undefined(name, &template))).collect();
        if !undefined.is_empty() {
            return Err(undefined);
        }
        handle(&self.bindings, &mut self.left_to_handle, &template, &names)?;
        let uses = |wanted: fn(&Binding) -> bool| names.iter().any(|name| self.bindings.get(name).is_some_and(wanted));
        let secret = uses(|binding| *binding == Binding::Secret);
        let missing = uses(|binding| matches!(binding, Binding::Missing(_)));
        let verdict = match compiled.eval(self.context.clone()) {
            Err(error) if is_static(&error) || !(secret || missing) => return Err(wrong(&error)),
            Ok(_) | Err(_) if secret => Verdict::Secret,
            Err(_) => Verdict::Unknown,
            Ok(value) if value.kind() != ValueKind::Bool => Verdict::Other(value.kind()),
            Ok(_) if missing => Verdict::Unknown,
            Ok(value) if value.is_true() => Verdict::Met,
            Ok(_) => Verdict::NotMet,
        };
        Ok(Decision { names, verdict })
    }

    fn undefined(&self, name: &str, text: &str) -> Mistake {
        let names: Vec<&str> = self.bindings.keys().map(String::as_str).collect();
        let help = suggest::did_you_mean(name, &names)
            .unwrap_or_else(|| format!("declare it: `params: {{{name}: {{type: string}}}}`"));
        Mistake {
            kind: MistakeKind::Undefined,
            message: format!("`{name}` is not defined"),
            range: word_in_template(text, name),
            help: Some(help),
        }
    }
}

/// What the template engine found.
fn engine_mistake(error: &Error, text: &str) -> Mistake {
    let detail = error.detail().unwrap_or_default();
    let help = match error.kind() {
        ErrorKind::UnknownFilter => Some(format!("the filters are {}", FILTERS.join(", "))),
        ErrorKind::SyntaxError => {
            Some("for braces that are to stay as they are, write `{% raw %}{{ … }}{% endraw %}`".to_owned())
        }
        _ => None,
    };
    Mistake {
        kind: MistakeKind::Template,
        message: match detail {
            "" => format!("the template cannot be rendered: {}", error.kind()),
            detail => format!("the template cannot be rendered: {}: {detail}", error.kind()),
        },
        range: error.range().filter(|range| !range.is_empty() && text.get(range.clone()).is_some()),
        help,
    }
}

/// Whether an error is there whatever the values are.
fn is_static(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction | ErrorKind::UnknownMethod
    )
}

fn jinja_value(value: &Value) -> minijinja::Value {
    match value {
        Value::Text(text) => minijinja::Value::from(text.as_str()),
        Value::Int(number) => minijinja::Value::from(*number),
        Value::Bool(truth) => minijinja::Value::from(*truth),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    environment.set_syntax(syntax.build().expect("the default delimiters are valid"));
    environment.add_filter("lower", |text: String| text.to_lowercase());
    environment.add_filter("upper", |text: String| text.to_uppercase());
    environment.add_filter("trim", |text: String| text.trim().to_owned());
    environment.add_filter("basename", |path: String| {
        std::path::Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    });
    environment.add_filter("dirname", |path: String| {
        std::path::Path::new(&path).parent().map(|parent| parent.to_string_lossy().into_owned()).unwrap_or_default()
    });
    environment.add_filter("replace", |text: String, from: String, to: String| {
        let grown = text.matches(&from).count().saturating_mul(to.len());
        if grown.saturating_add(text.len()) > LONGEST_RENDERED {
            return Err(Error::new(ErrorKind::InvalidOperation, "the result is too long"));
        }
        Ok(text.replace(&from, &to))
    });
    environment
}

/// Takes what a template that uses these names handles at worst from what is left.
fn handle(
    bindings: &BTreeMap<String, Binding>,
    left: &mut usize,
    text: &str,
    names: &[String],
) -> Result<(), Vec<Mistake>> {
    let length = |name: &String| match bindings.get(name) {
        Some(Binding::Known(Value::Text(value))) => value.len(),
        Some(_) | None => 0,
    };
    let longest = names.iter().map(length).max().unwrap_or_default();
    // A filter that replaces makes a text of this length of any other.
    let longest = if text.contains("replace") { longest.max(LONGEST_RENDERED) } else { longest };
    let handled = joins(text).saturating_add(1).saturating_mul(longest);
    match left.checked_sub(handled) {
        Some(rest) if handled <= MOST_HANDLED => {
            *left = rest;
            Ok(())
        }
        Some(_) | None => Err(vec![whole(
            "long texts are put together too often".to_owned(),
            "put long texts into a file, and its path into the runbook",
        )]),
    }
}

/// A mistake of a template as a whole.
fn whole(message: String, help: &str) -> Mistake {
    Mistake { kind: MistakeKind::Template, message, range: None, help: Some(help.to_owned()) }
}

/// The first thing in a template that Jinja has and the language has not.
fn unsupported(text: &str) -> Option<Mistake> {
    let mistake = |message: String, range: Range<usize>, help: &str| {
        Some(Mistake { kind: MistakeKind::Template, message, range: Some(range), help: Some(help.to_owned()) })
    };
    if text.len() > LONGEST {
        let message = format!("the template is longer than {} KiB", LONGEST >> 10);
        return mistake(message, 0..0, "put long texts into a file, and its path into the runbook");
    }
    let mut statements = 0;
    for part in Parts::new(text) {
        if part.range.len() > LONGEST_PART {
            let message = format!("an expression is longer than {} KiB", LONGEST_PART >> 10);
            return mistake(message, part.range, "give the result as a parameter");
        }
        let signs = ["~", "+", "|"].iter().map(|sign| part.count_outside_quotes(text, sign)).sum::<usize>();
        if signs > MOST_JOINS {
            let message = format!("an expression has more than {MOST_JOINS} `~`, `+` and filters");
            return mistake(message, part.range, "give the result as a parameter");
        }
        if part.kind == PartKind::Statement {
            statements += 1;
            if statements > MOST_STATEMENTS {
                let message = format!("the template has more than {MOST_STATEMENTS} statements");
                return mistake(message, part.range, "give the result as a parameter");
            }
            let inner = part.inner(text).trim_start_matches(['-', '+']).trim_start();
            let word: &str = inner.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            if !STATEMENTS.contains(&word) {
                let message = format!("templates have no `{{% {word} %}}`");
                return mistake(
                    message,
                    part.range,
                    "there are `{% if %}`, `{% elif %}`, `{% else %}` and `{% raw %}`",
                );
            }
        }
        if let Some(star) = part.find_outside_quotes(text, "*") {
            let message = "templates have no multiplication".to_owned();
            return mistake(message, star..star + 1, "give the result as a parameter");
        }
    }
    None
}
