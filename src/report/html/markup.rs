//! The only way to HTML. What is written here is well-formed, and every text and every value of an attribute that is not a constant of the
//! program is escaped twice: what could act on a screen or deceive the reader is spelled out first, as everywhere, and then what HTML would
//! understand. There is no way to put text in otherwise.

use crate::diagnostic::escape::{escape_line, escape_text};

/// A piece of HTML in the making.
#[derive(Debug, Default)]
pub struct Markup {
    html: String,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A constant of the program.
    Fixed(&'static str),
    /// Any text.
    Text(&'a str),
    /// A name inside the page.
    Anchor(&'static str, usize),
    /// A link to such a name.
    ToAnchor(&'static str, usize),
    /// A length or a place, in parts of a hundredth.
    Number(f64),
}

/// An attribute: its name, which is a constant of the program, and its value.
pub type Attribute<'a> = (&'static str, Value<'a>);

impl Markup {
    /// An element with what is inside.
    pub fn element(&mut self, tag: &'static str, attributes: &[Attribute<'_>], inside: impl FnOnce(&mut Self)) {
        self.start(tag, attributes);
        inside(self);
        self.html.push_str("</");
        self.html.push_str(tag);
        self.html.push('>');
        if is_block(tag) {
            self.html.push('\n');
        }
    }

    /// An element with nothing but a text inside, of one line.
    pub fn leaf(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.element(tag, attributes, |page| page.text(text));
    }

    /// An element of a drawing that has nothing inside, or one of those that HTML never closes.
    pub fn single(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.start(tag, attributes);
        if !matches!(tag, "meta" | "br" | "hr") {
            self.html.push_str("</");
            self.html.push_str(tag);
            self.html.push('>');
        }
    }

    /// A text of one line.
    pub fn text<T: AsRef<[u8]> + ?Sized>(&mut self, text: &T) {
        self.put(&escape_line(text));
    }

    /// A text of several lines, for `pre`.
    pub fn lines<T: AsRef<[u8]> + ?Sized>(&mut self, text: &T) {
        // The first newline of a `pre` is passed over by readers of HTML.
        self.html.push('\n');
        self.put(&escape_text(text));
    }

    /// A text in which `names` stand between backticks, as the program's messages have them.
    pub fn prose(&mut self, text: &str) {
        if text.matches('`').count() % 2 == 1 {
            // Which belong together cannot be told.
            return self.text(text);
        }
        for (at, part) in text.split('`').enumerate() {
            if at % 2 == 1 {
                self.leaf("code", &[], part);
            } else {
                self.text(part);
            }
        }
    }

    /// The one style of the page, a constant of the program.
    pub fn style(&mut self, style: &'static str) {
        self.html.push_str("<style>");
        self.html.push_str(style);
        self.html.push_str("</style>\n");
    }

    /// The page, with what has to stand before everything.
    pub fn page(self) -> String {
        format!("<!DOCTYPE html>\n{}", self.html)
    }

    fn start(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.html.push('<');
        self.html.push_str(tag);
        for (name, value) in attributes {
            self.html.push(' ');
            self.html.push_str(name);
            self.html.push_str("=\"");
            match value {
                Value::Fixed(text) => self.put(text),
                Value::Text(text) => self.put(&escape_line(text)),
                Value::Anchor(name, number) => self.html.push_str(&format!("{name}-{number}")),
                Value::ToAnchor(name, number) => self.html.push_str(&format!("#{name}-{number}")),
                Value::Number(number) => {
                    let text = format!("{number:.2}");
                    self.html.push_str(text.trim_end_matches('0').trim_end_matches('.'));
                }
            }
            self.html.push('"');
        }
        self.html.push('>');
    }

    fn put(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                other => self.html.push(other),
            }
        }
    }
}

/// After which a new line helps who reads the source.
fn is_block(tag: &str) -> bool {
    !matches!(tag, "code" | "a" | "b" | "strong" | "span" | "time" | "em" | "text" | "title" | "td" | "th" | "summary")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Markup, Value};

    fn of(text: &[u8]) -> String {
        let mut page = Markup::default();
        page.element("p", &[("title", Value::Text(&String::from_utf8_lossy(text)))], |page| {
            page.text(text);
            page.lines(text);
            page.prose(&String::from_utf8_lossy(text));
        });
        page.html
    }

    #[test]
    fn what_html_or_a_screen_would_understand_is_spelled_out() {
        let mut page = Markup::default();
        page.text("<script>alert('1')</script> & \u{1b}[2J\u{202e}\"");
        let shown = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; \\x1b[2J\\u{202e}&quot;";
        assert_eq!(page.html, shown);
    }

    #[test]
    fn names_between_backticks_are_code_and_an_odd_one_out_is_itself() {
        let mut page = Markup::default();
        page.prose("step `a` of `<b>`");
        page.prose("one ` alone");
        assert_eq!(page.html, "step <code>a</code> of <code>&lt;b&gt;</code>one ` alone");
    }

    proptest! {
        #[test]
        fn no_bytes_get_out_of_their_element(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let html = of(&raw);
            let inside = html.strip_prefix("<p title=\"").unwrap();
            // What is left when the elements that were asked for are taken out has no tag and no quote in it.
            let inside = inside.strip_suffix("</p>\n").unwrap().replacen("\">", "", 1);
            let inside = inside.replace("<code>", "").replace("</code>", "");
            assert!(!inside.contains(['<', '>', '"', '\'']), "{inside}");
        }
    }
}
