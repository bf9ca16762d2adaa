//! Secrets are replaced before anything is written or shown. Matching is exact, over a stream that may be cut anywhere:
//! however the bytes are cut, what comes out is the same.
//!
//! Masked are the secret itself, without the white space around it, each of its longer lines, and these forms of it:
//! base64 (both alphabets, at all three alignments, with and without padding), percent-encoded, hexadecimal, escaped
//! for JSON. Not masked is what a program computes from it otherwise, such as base64 broken into lines, a part of it,
//! or a hash; and up to four bits at either end of a base64 form that has something else around it.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// So that a skip fits into a byte.
const LONGEST_WINDOW: usize = 255;
/// How many pairs of bytes there are.
const PAIRS: usize = 1 << 16;

/// What stands in place of a secret.
pub const MASK: &str = "[secret]";
/// Shorter secrets are refused: masking them would hide half of all output, and they can be guessed.
pub const SHORTEST_SECRET: usize = 6;
/// Lines of a secret of several lines that are masked also where they stand alone have at least so many bytes.
const SHORTEST_LINE: usize = 16;

/// The secrets of a run, and all forms in which they are masked. Cheap to clone; never shows them.
#[derive(Clone)]
pub struct Secrets {
    patterns: Arc<Patterns>,
}

/// Why a secret cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Shorter than [`SHORTEST_SECRET`].
    #[error("the secret `{name}` has {length} bytes; at least {SHORTEST_SECRET} are needed to mask it in output")]
    TooShort {
        /// The parameter's name.
        name: String,
        /// Its length in bytes, without white space around it.
        length: usize,
    },
}

/// Masks one stream.
#[derive(Debug)]
pub struct Masker {
    secrets: Secrets,
    /// Bytes that may be the beginning of a secret, or still have to be swallowed.
    held: Vec<u8>,
    /// How many of the bytes to come belong to a secret that was already replaced.
    covered: usize,
}

struct Patterns {
    /// Longest first.
    all: Vec<Vec<u8>>,
    /// Which of them begin with this byte, as indices, longest first.
    by_first: Vec<Vec<usize>>,
    /// How many bytes are looked at together: the length of the shortest pattern.
    window: usize,
    /// For each pair of bytes: how far a window that ends with it may move on without missing a secret.
    skips: Vec<u8>,
}

/// Whether more bytes may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    Ended,
}

/// What is known of a place in the stream.
enum Look {
    Nothing,
    Secret(usize),
    NeedsMore,
}

impl Secrets {
    /// No secrets: masking does nothing and costs nothing.
    pub fn none() -> Self {
        Self {
            patterns: Arc::new(Patterns {
                all: Vec::new(),
                by_first: Vec::new(),
                window: SHORTEST_SECRET,
                skips: Vec::new(),
            }),
        }
    }

    /// These secrets, each with the name of its parameter.
    ///
    /// # Errors
    /// When one is too short to be masked. The error does not contain it.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, SecretError> {
        let mut forms = BTreeSet::new();
        for (name, secret) in secrets {
            let bare = secret.trim();
            if bare.len() < SHORTEST_SECRET {
                return Err(SecretError::TooShort { name: name.to_owned(), length: bare.len() });
            }
            add_forms(secret, &mut forms);
            add_forms(bare, &mut forms);
            for line in bare.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE) {
                add_forms(line, &mut forms);
            }
        }
        Ok(Self { patterns: Arc::new(Patterns::new(forms)) })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.all.is_empty()
    }

    /// The text with every secret replaced.
    pub fn mask_text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut out = Vec::with_capacity(text.len());
        let mut masker = Masker::new(self);
        masker.push(text.as_bytes(), &mut out);
        masker.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secrets(none)" } else { "Secrets(hidden)" })
    }
}

impl Masker {
    /// A masker at the beginning of a stream.
    pub fn new(secrets: &Secrets) -> Self {
        Self { secrets: secrets.clone(), held: Vec::new(), covered: 0 }
    }

    /// Whether there is nothing to mask, so that bytes may go past it unlooked at.
    pub fn is_idle(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Takes the next bytes and appends to `out` what can be said of them; bytes that may begin a secret are kept back.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        self.scan(Input::Open, out);
    }

    /// The stream has ended: appends what was kept back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.scan(Input::Ended, out);
    }

    /// A place is decided only when no further byte could change the decision, so that cuts make no difference.
    /// Secrets that overlap are replaced together, once.
    fn scan(&mut self, input: Input, out: &mut Vec<u8>) {
        let patterns = &self.secrets.patterns;
        let bytes = &self.held;
        let mut at = 0;
        let mut plain_from = 0;
        while at < bytes.len() {
            if self.covered == 0 {
                // Most bytes begin no secret; they are passed over quickly.
                at += patterns.next_candidate(&bytes[at..]).unwrap_or(bytes.len() - at);
                if at == bytes.len() {
                    break;
                }
            }
            match patterns.look(&bytes[at..], input) {
                Look::NeedsMore => break,
                Look::Secret(length) => {
                    if self.covered == 0 {
                        out.extend_from_slice(&bytes[plain_from..at]);
                        out.extend_from_slice(MASK.as_bytes());
                    }
                    self.covered = self.covered.max(length);
                }
                Look::Nothing => {}
            }
            at += 1;
            if self.covered > 0 {
                self.covered -= 1;
                plain_from = at;
            }
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        self.held.drain(..at);
    }
}

impl Patterns {
    fn new(forms: BTreeSet<Vec<u8>>) -> Self {
        let mut all: Vec<Vec<u8>> = forms.into_iter().filter(|form| form.len() >= SHORTEST_SECRET).collect();
        all.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let mut by_first = vec![Vec::new(); 256];
        let window = all.last().map_or(SHORTEST_SECRET, Vec::len).min(LONGEST_WINDOW);
        let furthest = u8::try_from(window - 1).expect("a window is at most 255 bytes long");
        let mut skips = vec![furthest; PAIRS];
        for (index, form) in all.iter().enumerate() {
            by_first[usize::from(form[0])].push(index);
            for (index, two) in form[..window].windows(2).enumerate() {
                let skip = u8::try_from(window - 2 - index).expect("less than the window");
                let known = &mut skips[pair(two[0], two[1])];
                *known = skip.min(*known);
            }
        }
        Self { all, by_first, window, skips }
    }

    /// The first place in these bytes at which a secret may begin, as far as can be told. Skips as Wu and Manber do ("A
    /// fast algorithm for multi-pattern searching", 1994): the last pair of a window tells how far the window may move.
    fn next_candidate(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + self.window) {
            match self.skips.get(pair(window[self.window - 2], window[self.window - 1])) {
                Some(0) => return Some(at),
                Some(&skip) => at += usize::from(skip),
                None => return None,
            }
        }
        (at < bytes.len()).then_some(at)
    }

    /// The longest secret at the beginning of these bytes.
    fn look(&self, bytes: &[u8], input: Input) -> Look {
        let Some(&first) = bytes.first() else { return Look::Nothing };
        for pattern in self.by_first.get(usize::from(first)).into_iter().flatten().map(|&index| &self.all[index]) {
            if bytes.starts_with(pattern) {
                return Look::Secret(pattern.len());
            }
            if input == Input::Open && pattern.starts_with(bytes) {
                return Look::NeedsMore;
            }
        }
        Look::Nothing
    }
}

/// The number of a pair of bytes.
fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Adds every form in which this text is masked.
fn add_forms(secret: &str, forms: &mut BTreeSet<Vec<u8>>) {
    forms.insert(secret.as_bytes().to_vec());
    add_base64(secret.as_bytes(), forms);
    add_escaped(secret, forms);
    let mut hex = String::new();
    for byte in secret.bytes() {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
    }
    forms.insert(hex.to_uppercase().into_bytes());
    forms.insert(hex.into_bytes());
    // encodeURIComponent leaves these, curl and RFC 3986 do not; forms write a space as `+`; paths keep their `/`.
    for also_plain in ["", "!'()*", "/", "!'()*/"] {
        let upper = percent_encoded(secret, also_plain);
        let lower = lower_hex(&upper);
        for text in [upper, lower] {
            forms.insert(text.replace("%20", "+").into_bytes());
            forms.insert(text.into_bytes());
        }
    }
}

/// The characters of base64 that these bytes alone decide, at each of the three alignments they can have in a longer
/// text; and the same at the text's end, without and with padding (RFC 4648).
fn add_base64(bytes: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for alphabet in [STANDARD, URL_SAFE] {
        for before in 0..3_usize {
            let mut padded = vec![0; before];
            padded.extend_from_slice(bytes);
            let bits = padded.len() * 8;
            let digit = |index: usize| {
                let (byte, offset) = (index * 6 / 8, index * 6 % 8);
                let pair = u16::from(padded[byte]) << 8 | u16::from(padded.get(byte + 1).copied().unwrap_or(0));
                alphabet[usize::from(pair >> (10 - offset) & 63)]
            };
            let first = (before * 8).div_ceil(6);
            let mut text: Vec<u8> = (first..bits / 6).map(digit).collect();
            forms.insert(text.clone());
            if bits % 6 != 0 {
                text.push(digit(bits / 6));
                forms.insert(text.clone());
                text.resize(text.len() + (3 - padded.len() % 3) % 3, b'=');
                forms.insert(text);
            }
        }
    }
}

/// The text as it stands inside a JSON string (RFC 8259), as common writers do it.
fn add_escaped(secret: &str, forms: &mut BTreeSet<Vec<u8>>) {
    let quoted = serde_json::Value::from(secret).to_string();
    let inner = quoted[1..quoted.len() - 1].to_owned();
    let mut ascii = String::new();
    for character in inner.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").expect("writing to a string cannot fail");
            }
        }
    }
    for text in [inner, ascii] {
        forms.insert(text.replace('/', "\\/").into_bytes());
        forms.insert(text.into_bytes());
    }
}

fn percent_encoded(text: &str, also_plain: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || "-._~".contains(character) || also_plain.contains(character) {
            encoded.push(character);
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded
}

/// The same with the digits after each `%` in lower case.
fn lower_hex(encoded: &str) -> String {
    let mut digits = 0;
    encoded
        .chars()
        .map(|character| {
            if character == '%' {
                digits = 2;
                return character;
            }
            if digits > 0 {
                digits -= 1;
                return character.to_ascii_lowercase();
            }
            character
        })
        .collect()
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
