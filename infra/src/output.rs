//! Where answers and progress go: text or JSON on standard output, questions and progress on standard error.

mod progress;

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use infra_model::render::Style;
use serde_json::{Value, json};

use crate::cli::{Color, Format, Global};
pub use progress::Progress;

pub struct Output {
    pub format: Format,
    color: Color,
    verbose: bool,
    /// Why standard output took nothing more.
    lost: OnceLock<String>,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        Self {
            format: global.format,
            color: global.color,
            verbose: global.verbose > 0,
            lost: OnceLock::new(),
        }
    }

    pub fn style(&self) -> Style {
        Style { color: self.colored(std::io::stdout().is_terminal()), whole: self.verbose }
    }

    /// For what goes to standard error.
    pub fn error_style(&self) -> Style {
        Style { color: self.colored(std::io::stderr().is_terminal()), whole: self.verbose }
    }

    fn colored(&self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                terminal && !no_color && !dumb
            }
        }
    }

    /// Text on standard output. A reader that has closed the pipe ends nothing; a full disk is told at the end, since half
    /// a document looks like a whole one.
    pub fn text(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            let _ = self.lost.set(error.to_string());
        }
    }

    /// Why some of the answer is missing, if it is.
    pub fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    pub fn json(&self, value: &Value) {
        self.text(&format!("{value:#}\n"));
    }

    /// One line of NDJSON.
    pub fn line(&self, value: &Value) {
        self.text(&format!("{value}\n"));
    }

    /// Why nothing was done: a sentence for the person, one line for a program.
    pub fn refused(&self, why: &str) {
        self.note(&format!("refused: {why}"));
        if self.is_json() {
            self.line(&json!({ "event": "refused", "why": why }));
        }
    }

    /// A remark for the person, on standard error.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Asks on the terminal; `None` when there is nobody to ask.
    pub fn ask(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut error = std::io::stderr().lock();
        let _ = write!(error, "{question} ");
        let _ = error.flush();
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }
}
