//! The two encodings of OpenSSH's formats, read strictly: base64 with one way to write each text (RFC 4648, section 4), and
//! length-prefixed binary strings (RFC 4251, section 5).

/// What is wrong with a binary text, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

/// Reads base64: whole groups of four signs, padding only at the end, and no stray bits behind the last byte.
///
/// # Errors
/// If it is anything else.
pub fn base64(text: &[u8]) -> Result<Vec<u8>, WireError> {
    let wrong = |what: &str| WireError(format!("it is not base64: {what}"));
    if !text.len().is_multiple_of(4) {
        return Err(wrong("its length is not a multiple of four"));
    }
    let body = text.len() - text.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for sign in &text[..body] {
        let value = match sign {
            b'A'..=b'Z' => sign - b'A',
            b'a'..=b'z' => sign - b'a' + 26,
            b'0'..=b'9' => sign - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(wrong("it holds other signs")),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("masked to a byte"));
            bits &= (1 << count) - 1;
        }
    }
    if count >= 6 || bits != 0 {
        return Err(wrong("its end is not as it would be written"));
    }
    Ok(bytes)
}

/// Writes base64 without padding, as fingerprints have it.
pub fn unpadded_base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for place in 0..=chunk.len() {
            let sign = bits >> (18 - 6 * place) & 63;
            text.push(char::from(SIGNS[usize::try_from(sign).expect("six bits fit")]));
        }
    }
    text
}

/// Takes length-prefixed strings and numbers off the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'b> {
    rest: &'b [u8],
}

impl<'b> Wire<'b> {
    /// All of these bytes.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// As many raw bytes.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn take(&mut self, length: usize, what: &str) -> Result<&'b [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(WireError(format!("it ends within {what}")));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn byte(&mut self, what: &str) -> Result<u8, WireError> {
        Ok(self.take(1, what)?[0])
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// If there are less than four bytes.
    pub fn number(&mut self, what: &str) -> Result<u32, WireError> {
        let bytes: [u8; 4] = self.take(4, what)?.try_into().expect("four bytes were taken");
        Ok(u32::from_be_bytes(bytes))
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// If there are less than eight bytes.
    pub fn long_number(&mut self, what: &str) -> Result<u64, WireError> {
        let bytes: [u8; 8] = self.take(8, what)?.try_into().expect("eight bytes were taken");
        Ok(u64::from_be_bytes(bytes))
    }

    /// A string: a number of 32 bits, and as many bytes.
    ///
    /// # Errors
    /// If there are less bytes than it says.
    pub fn string(&mut self, what: &str) -> Result<&'b [u8], WireError> {
        let length = self.number(what)?;
        self.take(usize::try_from(length).map_err(|error| WireError(error.to_string()))?, what)
    }

    /// A string that is text.
    ///
    /// # Errors
    /// As [`Wire::string`], and if it is not UTF-8.
    pub fn text(&mut self, what: &str) -> Result<&'b str, WireError> {
        std::str::from_utf8(self.string(what)?).map_err(|_| WireError(format!("{what} is not text")))
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What lies between here and where `later`, a copy of this that went on, is.
    pub fn until(&self, later: &Self) -> &'b [u8] {
        &self.rest[..self.rest.len() - later.rest.len()]
    }

    /// That everything was taken.
    ///
    /// # Errors
    /// If something is left.
    pub fn end(self, what: &str) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(WireError(format!("{left} bytes follow {what}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Wire, base64, unpadded_base64};

    #[test]
    fn base64_has_one_way_to_write_each_text() {
        assert_eq!(base64(b"Zm9vYg=="), Ok(b"foob".to_vec()));
        assert_eq!(base64(b""), Ok(Vec::new()));
        for wrong in ["Zm9vYg", "Zm9vYh==", "Zm9v=", "Zm9vY===", "Zm9v\n", "Zm=v", "====", "Zm9-", "Zm9vYm9="] {
            assert!(base64(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_string_that_promises_more_than_there_is_is_refused() {
        assert!(Wire::new(&[0xff, 0xff, 0xff, 0xff, 1]).string("a text").is_err());
        assert!(Wire::new(&[0, 0, 0]).number("a number").is_err());
        assert!(Wire::new(&[0, 0, 0, 1, b'a', 0]).end("it").is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let mut text = unpadded_base64(&bytes);
            while !text.len().is_multiple_of(4) {
                text.push('=');
            }
            proptest::prop_assert_eq!(base64(text.as_bytes()), Ok(bytes));
        }
    }
}
