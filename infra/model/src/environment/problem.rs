//! What is wrong with an environment, as data, and how it is shown: text with the line of the file, or JSON. Owns the form
//! of a problem; refuses to know what can be wrong.

use std::fmt::{self, Write as _};

use serde::Serialize;
use unicode_width::UnicodeWidthChar;

use super::origin::{Origin, Sources};

/// Whether it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is done until it is mended.
    Error,
    /// It works, but somebody should look.
    Warning,
}

/// One thing that is wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// A word for programs, such as `unknown-key`. It never changes its meaning.
    pub code: &'static str,
    pub message: String,
    /// Dotted path of the value, such as `services.app.cpu`.
    pub path: String,
    #[serde(flatten)]
    pub origin: Option<Origin>,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// The near miss, ready to be put in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
    /// The line holds what nobody should read over a shoulder or in a pipeline's log: only its place is shown.
    #[serde(skip)]
    pub hides_line: bool,
    /// Another place that has part in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
}

/// Another place that has part in a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    pub message: String,
    #[serde(flatten)]
    pub origin: Origin,
}

impl Problem {
    /// An error at a path.
    pub fn error(code: &'static str, path: impl ToString, message: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Error,
            code,
            message: message.into(),
            path: path.to_string(),
            origin: None,
            allowed: None,
            did_you_mean: None,
            hides_line: false,
            related: Vec::new(),
        }
    }

    /// A warning at a path.
    pub fn warning(code: &'static str, path: impl ToString, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Problem::error(code, path, message) }
    }

    /// Point at a place.
    pub fn at(mut self, origin: Option<&Origin>) -> Self {
        self.origin = origin.cloned();
        self
    }

    /// Show the place only, not the line.
    pub fn hide_line(mut self) -> Self {
        self.hides_line = true;
        self
    }

    /// Say what would be right.
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Suggest the near miss.
    pub fn near(mut self, near: Option<&str>) -> Self {
        self.did_you_mean = near.map(str::to_owned);
        self
    }

    /// Point at another place, too.
    pub fn related(mut self, message: impl Into<String>, origin: Option<&Origin>) -> Self {
        if let Some(origin) = origin {
            self.related.push(Related { message: message.into(), origin: origin.clone() });
        }
        self
    }
}

/// All problems of one look, with the texts to show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    sources: Sources,
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    Never,
    Always,
}

impl Problems {
    /// Problems found in these files.
    pub fn new(list: Vec<Problem>, sources: Sources) -> Self {
        let mut list = list;
        // By place, as one reads the file; what has no place comes first.
        list.sort_by(|a, b| (&a.origin, a.severity, &a.path).cmp(&(&b.origin, b.severity, &b.path)));
        list.dedup();
        Problems { list, sources }
    }

    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether anything forbids to go on.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The problems, in order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Put the problems of another look beside these.
    pub fn join(self, other: Problems) -> Problems {
        let mut sources = self.sources;
        sources.merge(&other.sources);
        Problems::new(self.list.into_iter().chain(other.list).collect(), sources)
    }

    /// For people.
    pub fn text(&self, color: Color) -> String {
        let paint = Paint(color == Color::Always);
        let mut out = String::new();
        for problem in &self.list {
            self.one(problem, paint, &mut out);
            out.push('\n');
        }
        let errors = self.list.iter().filter(|problem| problem.severity == Severity::Error).count();
        let warnings = self.list.len() - errors;
        let _ = writeln!(out, "{}", summary(errors, warnings));
        out
    }

    fn one(&self, problem: &Problem, paint: Paint, out: &mut String) {
        let (word, tone) = match problem.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let head = paint.with(tone, &format!("{word}[{}]", problem.code));
        let _ = writeln!(out, "{head}: {}", problem.message);
        let width = problem.origin.iter().chain(problem.related.iter().map(|related| &related.origin));
        let width = width.map(|origin| origin.line.to_string().len()).max().unwrap_or(1);
        if let Some(origin) = problem.origin.as_ref().filter(|_| problem.hides_line) {
            let _ = writeln!(out, "{:width$}{} {origin}", "", paint.with("1;34", "-->"));
        } else if let Some(origin) = &problem.origin {
            self.excerpt(origin, "", tone, width, paint, out);
        }
        for related in &problem.related {
            self.excerpt(&related.origin, &related.message, "1;34", width, paint, out);
        }
        if let Some(allowed) = &problem.allowed {
            let _ = writeln!(out, "{:width$} {} allowed: {allowed}", "", paint.with("1;34", "="));
        }
        if let Some(near) = &problem.did_you_mean {
            let _ = writeln!(
                out,
                "{:width$} {} did you mean {}?",
                "",
                paint.with("1;34", "="),
                paint.with("32", near)
            );
        }
    }

    fn excerpt(&self, origin: &Origin, note: &str, tone: &str, width: usize, paint: Paint, out: &mut String) {
        let arrow = paint.with("1;34", "-->");
        let _ = writeln!(out, "{:width$}{arrow} {origin}", "");
        let Some(line) = self.sources.line_of(origin) else { return };
        let bar = paint.with("1;34", "|");
        // A tab moves the reader's screen by an unknown width: show it as one blank, as the column counts it.
        let shown = line.replace('\t', " ");
        let width_of = |from: usize, count: usize| -> usize {
            shown.chars().skip(from).take(count).map(|c| c.width().unwrap_or(1)).sum()
        };
        let marks = "^".repeat(width_of(column(origin), origin.length as usize).max(1));
        let indent = width_of(0, column(origin));
        let _ = writeln!(out, "{:width$} {bar}", "");
        let _ = writeln!(out, "{:>width$} {bar} {shown}", origin.line);
        let marks = paint.with(tone, &format!("{marks}{}{note}", if note.is_empty() { "" } else { " " }));
        let _ = writeln!(out, "{:width$} {bar} {:indent$}{marks}", "", "");
    }

    /// For programs: an array, in the order of the text.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(&self.list).expect("problems are strings and numbers")
    }
}

fn column(origin: &Origin) -> usize {
    (origin.column as usize).saturating_sub(1)
}

fn summary(errors: usize, warnings: usize) -> String {
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => plural(errors, "error"),
        (0, warnings) => plural(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, tone: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{tone}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Color::Never))
    }
}

impl std::error::Error for Problems {}
