//! A diagnostic as one JSON object, for programs.

use serde_json::{Value, json};

use super::escape::escape_line;
use super::{Diagnostic, Label, Severity, Source, Span};

/// One object: `code`, `severity`, `message`, `file`, and where it is known `line`, `column`, `end_line`, `end_column`
/// (from 1, columns in characters, the end exclusive), `label`, `help`, and `related`, a list of places with labels.
pub fn to_json(diagnostic: &Diagnostic, source: &Source) -> Value {
    let mut object = json!({
        "code": diagnostic.code,
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": escape_line(&diagnostic.message),
        "file": escape_line(source.name()),
    });
    let fields = object.as_object_mut().expect("json! with braces makes an object");
    if let Some(primary) = &diagnostic.primary {
        fields.extend(place(primary.span, source));
        if !primary.text.is_empty() {
            fields.insert("label".to_owned(), json!(escape_line(&primary.text)));
        }
    }
    if let Some(help) = &diagnostic.help {
        fields.insert("help".to_owned(), json!(escape_line(help)));
    }
    if !diagnostic.related.is_empty() {
        let related: Vec<Value> = diagnostic.related.iter().map(|label| related(label, source)).collect();
        fields.insert("related".to_owned(), Value::Array(related));
    }
    object
}

fn related(label: &Label, source: &Source) -> Value {
    let mut fields = place(label.span, source);
    fields.insert("label".to_owned(), json!(escape_line(&label.text)));
    Value::Object(fields)
}

fn place(span: Span, source: &Source) -> serde_json::Map<String, Value> {
    let (line, column) = source.position(span.start);
    let (end_line, end_column) = source.position(span.end);
    [("line", line), ("column", column), ("end_line", end_line), ("end_column", end_column)]
        .into_iter()
        .map(|(key, number)| (key.to_owned(), json!(number)))
        .collect()
}
