//! The TXT record that says whose a record is: `_keyway-<type>.<name>`, with one quoted string a tag. The type is part of
//! the name, so that an A and an AAAA record of one name each have their own and no marker is ever shared or merged.

use crate::aws::tag::Tags;

/// Route 53 takes at most 255 characters in one quoted string.
const STRING_CHARS_MAX: usize = 255;

const LABEL: &str = "_keyway-";

/// The name of the marker of a record. A `*` that is not leftmost is an ordinary character to DNS.
pub(super) fn name(record: &str, kind: &str) -> String {
    format!("{LABEL}{}.{record}", kind.to_ascii_lowercase())
}

pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(LABEL)
}

pub(super) fn write(tags: &Tags) -> String {
    let ours = tags.iter().filter(|(key, _)| key.starts_with(infra_model::graph::TAG_PREFIX));
    ours.map(|(key, value)| quoted(&format!("{key}={value}"))).collect::<Vec<_>>().join(" ")
}

pub(super) fn read(values: &[String]) -> Tags {
    let strings = values.iter().flat_map(|value| strings(value));
    strings.filter_map(|text| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect()
}

/// A text as Route 53 writes it: in quotes, in pieces when it is long.
pub(super) fn quoted(text: &str) -> String {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for c in text.chars() {
        if piece.len() + c.len_utf8() > STRING_CHARS_MAX {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    pieces.push(piece);
    let escaped = |piece: &String| format!("\"{}\"", piece.replace('\\', "\\\\").replace('"', "\\\""));
    pieces.iter().map(escaped).collect::<Vec<_>>().join(" ")
}

/// The text of one value, its pieces joined.
pub(super) fn unquoted(value: &str) -> String {
    if value.starts_with('"') { strings(value).concat() } else { value.to_owned() }
}

fn strings(value: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), None::<String>);
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, &mut open) {
            ('"', None) => open = Some(String::new()),
            ('"', Some(text)) => {
                found.push(std::mem::take(text));
                open = None;
            }
            ('\\', Some(text)) => text.extend(chars.next()),
            (c, Some(text)) => text.push(c),
            (_, None) => {}
        }
    }
    found
}

/// A name as people write it: lower case, no final dot, `\052` as `*`.
pub(super) fn plain(name: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out.trim_end_matches('.').to_ascii_lowercase()
}

/// A name as Route 53 takes it: absolute.
pub(super) fn dotted(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_tell_types_and_wildcards_apart() {
        assert_eq!(name("a.example", "AAAA"), "_keyway-aaaa.a.example");
        assert_eq!(plain("_keyway-a.\\052.A.example."), name("*.a.example", "A"));
        assert!(is_name(&name("a.example", "A")));
        assert!(!is_name("_keyway.a.example"));
    }

    #[test]
    fn tags_survive_being_a_text_and_only_ours_are_written() {
        let ours = Tags::from([
            ("keyway:address".to_owned(), format!("edge/record/{}", "x".repeat(180))),
            ("keyway:project".to_owned(), "say \"hi\" \\ bye".to_owned()),
        ]);
        let mut tags = ours.clone();
        tags.insert("team".to_owned(), "doors".to_owned());
        assert_eq!(read(&[write(&tags)]), ours);
    }

    #[test]
    fn long_texts_are_cut_into_pieces_and_joined_again() {
        let text = "k".repeat(600);
        let value = quoted(&text);
        assert_eq!(strings(&value).iter().map(String::len).collect::<Vec<_>>(), [255, 255, 90]);
        assert_eq!(unquoted(&value), text);
        assert_eq!(unquoted("plain"), "plain");
    }
}
