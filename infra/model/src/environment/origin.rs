//! Where a value was written: file, line and column, kept for every value through all overlays. Owns places and the map
//! from a dotted path to its place; refuses to know what the values mean.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// A place in a file. Lines and columns count from one; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
    /// Characters to underline, at least one, never past the end of the line.
    #[serde(skip)]
    pub length: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Origin {
    /// `file:line`: what a plan shows beside a value.
    pub fn short(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// One file's name and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub file: Arc<str>,
    pub text: Arc<str>,
}

impl Source {
    /// A file as the loader gave it.
    pub fn new(file: &str, text: &str) -> Self {
        Source { file: file.into(), text: text.into() }
    }

    /// The place of a range of bytes.
    pub fn origin(&self, bytes: Range<usize>) -> Origin {
        let start = floor_boundary(&self.text, bytes.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        let end = floor_boundary(&self.text, bytes.end.clamp(start, line_end));
        Origin {
            file: Arc::clone(&self.file),
            line: count(self.text[..start].matches('\n').count()),
            column: count(self.text[line_start..start].chars().count()),
            length: count(self.text[start..end].chars().count()).saturating_sub(1).max(1),
        }
    }

    /// The text of a line, counted from one, without its end.
    pub fn line(&self, line: u32) -> Option<&str> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        self.text.split('\n').nth(index).map(|line| line.strip_suffix('\r').unwrap_or(line))
    }
}

/// The text of a file's bytes, or why it is none, with the place of the first byte that is not UTF-8.
pub fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let (sound, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let sound = String::from_utf8_lossy(sound);
        let line_start = sound.rfind('\n').map_or(0, |newline| newline + 1);
        let line = count(sound.matches('\n').count());
        let column = count(sound[line_start..].chars().count());
        let byte = rest.first().copied().unwrap_or_default();
        format!("line {line}, column {column} is not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8")
    })
}

/// From zero-based to one-based; a file of four thousand million lines does not reach us.
fn count(zero_based: usize) -> u32 {
    u32::try_from(zero_based).unwrap_or(u32::MAX - 1) + 1
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// The texts of all files that took part, for showing the line of a problem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<Arc<str>, Source>);

impl Sources {
    /// Remember a file.
    pub fn add(&mut self, source: Source) {
        self.0.insert(Arc::clone(&source.file), source);
    }

    /// Remember the files of another.
    pub fn merge(&mut self, other: &Sources) {
        for source in other.0.values() {
            self.add(source.clone());
        }
    }

    /// The line that a place points at.
    pub fn line_of(&self, origin: &Origin) -> Option<&str> {
        self.0.get(&origin.file)?.line(origin.line)
    }

    /// The text of a file.
    pub fn text(&self, file: &str) -> Option<&str> {
        self.0.get(file).map(|source| &*source.text)
    }

    /// The names of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|file| &**file)
    }
}

/// From the dotted path of a value (`services.app.cpu`) to the place that decided it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    values: BTreeMap<String, Origin>,
    /// Places of the keys themselves: where a name is wrong, not its value.
    keys: BTreeMap<String, Origin>,
}

impl Origins {
    pub(crate) fn insert(&mut self, path: &Path, value: Origin, key: Origin) {
        self.values.insert(path.to_string(), value);
        self.keys.insert(path.to_string(), key);
    }

    /// The place of a key, or of the nearest table around it.
    pub fn of_key(&self, path: &str) -> Option<&Origin> {
        self.keys.get(path).or_else(|| self.of(path))
    }

    /// The place of a value. A value that no file mentions (a default) has the place of the nearest table around it.
    pub fn of(&self, path: &str) -> Option<&Origin> {
        let mut path = path;
        loop {
            if let Some(origin) = self.values.get(path) {
                return Some(origin);
            }
            path = &path[..parent_end(path)?];
        }
    }

    /// The place of exactly this path, `None` where the value is a default.
    pub fn exact(&self, path: &str) -> Option<&Origin> {
        self.values.get(path)
    }

    /// All paths with their places, in order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.values.iter().map(|(path, origin)| (path.as_str(), origin))
    }
}

/// End of the parent's path: the last dot outside quotes.
fn parent_end(path: &str) -> Option<usize> {
    let mut quoted = false;
    let mut last = None;
    for (index, character) in path.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => last = Some(index),
            _ => {}
        }
    }
    last
}

/// A path into the document. Printed with dots; a key that holds a dot is quoted; elements of an array are numbers from zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<String>);

impl Path {
    /// This path and one more key.
    pub fn child(&self, key: &str) -> Path {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Path(keys)
    }

    /// Read a dotted path.
    pub fn parse(text: &str) -> Path {
        let mut keys = vec![String::new()];
        let mut quoted = false;
        for character in text.chars() {
            match character {
                '"' => quoted = !quoted,
                '.' if !quoted => keys.push(String::new()),
                _ => keys.last_mut().expect("starts with one key").push(character),
            }
        }
        Path(keys)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if key.contains('.') || key.is_empty() { write!(f, "\"{key}\"")? } else { f.write_str(key)? }
        }
        Ok(())
    }
}
