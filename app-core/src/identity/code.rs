//! One-time codes for enrolment: typed by a person, read aloud, good for a quarter of an hour. Owns their spelling;
//! what a code opens is in the database, under its hash only.

/// The installer stands at the door: a quarter of an hour, and it closes by itself.
pub const LIFE_MS: u64 = 15 * 60_000;
/// No vowels and nothing that looks like something else: no word comes out, and it can be read on a small screen.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// 20^12 is 51 bits: at the rate that enrolment allows, a guess needs longer than the code lives by far.
const LETTERS: usize = 12;
const GROUP: usize = 4;

/// A code like `BCDF-GHJK-LMNP`, from random bytes.
pub fn make(random: [u8; 32]) -> String {
    let mut code = String::with_capacity(LETTERS + LETTERS / GROUP);
    // 240 is the largest multiple of 20 in a byte: what lies above would favour some letters.
    let fair = random.iter().filter(|byte| **byte < 240);
    for (place, byte) in fair.take(LETTERS).enumerate() {
        if place > 0 && place % GROUP == 0 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[usize::from(byte % 20)]));
    }
    code
}

/// The one spelling that is hashed: people leave out dashes and type lower case.
pub fn canonical(typed: &str) -> Option<String> {
    let letters: String =
        typed.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_uppercase()).collect();
    let known = letters.len() == LETTERS && letters.bytes().all(|byte| ALPHABET.contains(&byte));
    known.then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_typed() {
        let code = make(std::array::from_fn(|place| (place * 7) as u8));
        assert_eq!(code.len(), 14);
        let letters = canonical(&code).unwrap();
        assert_eq!(canonical(&code.to_lowercase().replace('-', " ")), Some(letters));
        for bad in ["", "BCDF", "BCDF-GHJK-LMNA", "BCDF-GHJK-LMNPQ"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }
}
