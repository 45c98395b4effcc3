//! Length-prefixed fields: LEB128 numbers, texts, byte strings, and the rest. It knows no message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::envelope::Unreadable;

pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Writer {
        Writer(BytesMut::with_capacity(bytes))
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.put_u8(byte);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.put_u8(number as u8);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.put_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Without a length: the last field.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Unreadable> {
        if self.0.is_empty() { Err(Unreadable) } else { Ok(self.0.get_u8()) }
    }

    pub(crate) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0u64;
        // Ten groups of seven bits hold 64.
        for group in 0..10 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if group == 9 && bits > 1 {
                return Err(Unreadable);
            }
            number |= bits << (7 * group);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Unreadable> {
        let length = usize::try_from(self.number()?).map_err(|_| Unreadable)?;
        if length > self.0.len() { Err(Unreadable) } else { Ok(self.0.split_to(length)) }
    }

    pub(crate) fn text(&mut self) -> Result<String, Unreadable> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| Unreadable)
    }

    pub(crate) fn rest(self) -> Bytes {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut writer = Writer::with_capacity(10);
            writer.number(number);
            assert_eq!(Reader::new(writer.finish()).number(), Ok(number));
        }
    }
}
