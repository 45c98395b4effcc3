//! The identity of one connection. Random, made by the shell from bytes it supplies; no meaning inside.

use std::fmt;

/// A version 4 UUID, written the usual way. Clients see it as `client` and in presence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u128);

impl ConnectionId {
    /// Sixteen random bytes; the version and variant bits are set here.
    pub fn from_random(random: [u8; 16]) -> ConnectionId {
        let mut bytes = random;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        ConnectionId(u128::from_be_bytes(bytes))
    }

    pub fn parse(text: &str) -> Option<ConnectionId> {
        let well_placed = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
            });
        if !well_placed {
            return None;
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        u128::from_str_radix(&digits, 16).ok().map(ConnectionId)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: a request carries it, and formatting five numbers is a tenth of what a request costs.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let places = (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
        for (place, shift) in places.zip((0..32).rev()) {
            text[place] = DIGITS[(self.0 >> (shift * 4)) as usize & 15];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = ConnectionId::from_random([0xab; 16]);
        let text = id.to_string();
        assert_eq!(text, "abababab-abab-4bab-abab-abababababab");
        assert_eq!(ConnectionId::parse(&text), Some(id));
        for wrong in [
            "",
            "abababab-abab-4bab-abab-ababababab",
            "ABABABAB-abab-4bab-abab-abababababab",
            "abababab+abab-4bab-abab-abababababab",
        ] {
            assert_eq!(ConnectionId::parse(wrong), None, "{wrong}");
        }
    }
}
