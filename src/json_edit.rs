//! Finds values in JSON text by their place, and replaces some without touching another byte: number notation, key
//! order, escapes and unknown keys survive (RFC 8259).
//!
//! It never builds a tree and never recurses. It reads the first value of a text and ignores what follows: Janus hands
//! bodies to its parser as C strings, so a NUL byte and garbage behind a message do not make it invalid there, and what
//! the receiver would read must not pass unread here.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};
use thiserror::Error;

/// Deepest nesting that is read. The JSON library of Janus (jansson) has the same limit.
pub(crate) const MAX_DEPTH: usize = 2048;

/// Why a text is not read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// Not JSON.
    #[error("byte {0}: not JSON")]
    Syntax(usize),
    /// Over [`MAX_DEPTH`].
    #[error("byte {0}: expected JSON nested at most {MAX_DEPTH} deep")]
    TooDeep(usize),
}

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true`, `false`, `null`.
    Literal,
}

/// A value by its place in a text that was checked by [`first_value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    text: &'a [u8],
    start: usize,
    end: usize,
}

/// The first value of `text`, checked to its end.
pub(crate) fn first_value(text: &[u8]) -> Result<Value<'_>, JsonError> {
    let start = skip_space(text, 0);
    let end = value_end(text, start)?;
    Ok(Value { text, start, end })
}

/// The one value that `text` is: what follows it may only be white space.
pub(crate) fn whole_value(text: &[u8]) -> Result<Value<'_>, JsonError> {
    let value = first_value(text)?;
    let rest = skip_space(text, value.end);
    if rest == text.len() { Ok(value) } else { Err(JsonError::Syntax(rest)) }
}

impl<'a> Value<'a> {
    /// Its bytes.
    pub(crate) fn raw(&self) -> &'a [u8] {
        &self.text[self.start..self.end]
    }

    /// Where it stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Its type.
    pub(crate) fn kind(&self) -> Kind {
        match self.text[self.start] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' | b'n' => Kind::Literal,
            _ => Kind::Number,
        }
    }

    /// A string without its quotes and escapes.
    pub(crate) fn string(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| unescape(&self.text[self.start + 1..self.end - 1]))
    }

    /// A number that is written as plain digits and fits.
    pub(crate) fn integer(&self) -> Option<u64> {
        let digits = std::str::from_utf8(self.raw()).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// Keys and values of an object, in order, duplicates included; nothing for any other value.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> + use<'a> {
        self.placed_members().map_while(|(key, value)| Some((key.string()?, value)))
    }

    /// Keys and values of an object with the places of both.
    pub(crate) fn placed_members(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let mut walk = Walk::into(*self, Kind::Object);
        std::iter::from_fn(move || {
            let key = walk.next()?;
            walk.at = skip_space(walk.text, walk.at) + 1;
            Some((key, walk.next()?))
        })
    }

    /// What stands below `key` in an object. Of several the last one, as everybody's parser has it.
    pub(crate) fn member(&self, key: &str) -> Option<Value<'a>> {
        self.members().filter(|(name, _)| name == key).last().map(|(_, value)| value)
    }

    /// Values of an array, in order; nothing for any other value.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut walk = Walk::into(*self, Kind::Array);
        std::iter::from_fn(move || walk.next())
    }
}

/// Steps over the values inside a checked container.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Walk<'a> {
    fn into(value: Value<'a>, kind: Kind) -> Self {
        let end = if value.kind() == kind { value.end - 1 } else { value.start };
        Walk { text: value.text, at: value.start + 1, end }
    }

    fn next(&mut self) -> Option<Value<'a>> {
        let mut start = skip_space(self.text, self.at);
        if self.text.get(start) == Some(&b',') {
            start = skip_space(self.text, start + 1);
        }
        if start >= self.end {
            return None;
        }
        let end = value_end(self.text, start).ok()?;
        self.at = end;
        Some(Value { text: self.text, start, end })
    }
}

/// Replacements by place; no two overlap.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<(Range<usize>, Vec<u8>)>);

impl Edits {
    /// Puts `bytes` in place of `span`.
    pub(crate) fn replace(&mut self, span: Range<usize>, bytes: Vec<u8>) {
        self.0.push((span, bytes));
    }

    /// Whether nothing is to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many replacements there are; a mark for [`Edits::truncate`].
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets the replacements after a mark.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// `text` with the replacements carried out.
    pub(crate) fn apply(mut self, text: &[u8]) -> Vec<u8> {
        self.0.sort_by_key(|(span, _)| span.start);
        let added: usize = self.0.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut out = Vec::with_capacity(text.len() + added);
        let mut at = 0;
        for (span, bytes) in &self.0 {
            out.extend_from_slice(&text[at..span.start]);
            out.extend_from_slice(bytes);
            at = span.end;
        }
        out.extend_from_slice(&text[at..]);
        out
    }
}

/// `text` as a JSON string.
pub(crate) fn quote(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 2);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

/// Which containers are open, one bit each: set for objects.
struct Open {
    bits: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Open {
    fn push(&mut self, object: bool, at: usize) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep(at));
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        Ok(())
    }

    fn top_is_object(&self) -> bool {
        let top = self.depth - 1;
        self.bits[top / 64] >> (top % 64) & 1 == 1
    }
}

/// Where the value that begins at `start` ends.
fn value_end(text: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut open = Open { bits: [0; MAX_DEPTH / 64], depth: 0 };
    let mut at = start;
    loop {
        at = match text.get(at) {
            Some(&bracket @ (b'{' | b'[')) => {
                let inside = skip_space(text, at + 1);
                open.push(bracket == b'{', at)?;
                if text.get(inside) != Some(&closing(bracket == b'{')) {
                    at = if bracket == b'{' { key_end(text, inside)? } else { inside };
                    continue;
                }
                inside
            }
            Some(_) => scalar_end(text, at)?,
            None => return Err(JsonError::Syntax(at)),
        };
        // `at` is behind a scalar, or on the bracket that closes an empty container: leave what is complete.
        loop {
            if open.depth == 0 {
                return Ok(at);
            }
            at = skip_space(text, at);
            let object = open.top_is_object();
            match text.get(at) {
                Some(b',') => {
                    at = skip_space(text, at + 1);
                    at = if object { key_end(text, at)? } else { at };
                    break;
                }
                Some(&byte) if byte == closing(object) => {
                    open.depth -= 1;
                    at += 1;
                }
                _ => return Err(JsonError::Syntax(at)),
            }
        }
    }
}

fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// Where the value begins whose key begins at `at`.
fn key_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    if text.get(at) != Some(&b'"') {
        return Err(JsonError::Syntax(at));
    }
    let colon = skip_space(text, string_end(text, at)?);
    if text.get(colon) != Some(&b':') {
        return Err(JsonError::Syntax(colon));
    }
    Ok(skip_space(text, colon + 1))
}

fn scalar_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    let rest = &text[at..];
    match rest[0] {
        b'"' => string_end(text, at),
        b'-' | b'0'..=b'9' => number_end(text, at),
        _ => [&b"true"[..], b"false", b"null"]
            .iter()
            .find(|word| rest.starts_with(word))
            .map(|word| at + word.len())
            .ok_or(JsonError::Syntax(at)),
    }
}

fn string_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    let mut at = at + 1;
    loop {
        let rest = &text[at..];
        let run = memchr2(b'"', b'\\', rest).ok_or(JsonError::Syntax(text.len()))?;
        if let Some(control) = rest[..run].iter().position(|byte| *byte < b' ') {
            return Err(JsonError::Syntax(at + control));
        }
        at += run;
        if text[at] == b'"' {
            return Ok(at + 1);
        }
        at = escape_end(text, at)?;
    }
}

fn escape_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') if hex4(text, at + 2).is_some() => Ok(at + 6),
        _ => Err(JsonError::Syntax(at)),
    }
}

fn number_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    let digits = |at: usize| text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let required = |at: usize| match digits(at.min(text.len())) {
        0 => Err(JsonError::Syntax(at)),
        count => Ok(at + count),
    };
    let start = at + usize::from(text[at] == b'-');
    let mut at = required(start)?;
    if text[start] == b'0' && at > start + 1 {
        return Err(JsonError::Syntax(start));
    }
    if text.get(at) == Some(&b'.') {
        at = required(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = required(at + 1 + sign)?;
    }
    Ok(at)
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

fn hex4(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 4)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok())??;
    u16::from_str_radix(digits, 16).ok()
}

/// The inside of a checked string. Bytes that are not UTF-8 and lone surrogates become U+FFFD.
fn unescape(inside: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr(b'\\', inside) else { return String::from_utf8_lossy(inside) };
    let mut out = Vec::with_capacity(inside.len());
    out.extend_from_slice(&inside[..first]);
    let mut at = first;
    while at < inside.len() {
        let run = memchr(b'\\', &inside[at..]).unwrap_or(inside.len() - at);
        out.extend_from_slice(&inside[at..at + run]);
        at += run;
        if at < inside.len() {
            let (character, length) = escaped(inside, at);
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at += length;
        }
    }
    Cow::Owned(
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// The character that the checked escape at `at` stands for, and how long the escape is.
fn escaped(inside: &[u8], at: usize) -> (char, usize) {
    let simple = match inside.get(at + 1) {
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unicode_escape(inside, at),
        Some(&byte) => char::from(byte),
        None => char::REPLACEMENT_CHARACTER,
    };
    (simple, 2)
}

fn unicode_escape(inside: &[u8], at: usize) -> (char, usize) {
    let low = || hex4(inside, at + 8).filter(|_| inside.get(at + 6..at + 8) == Some(b"\\u"));
    let units = [hex4(inside, at + 2).unwrap_or(0xfffd), low().unwrap_or(0)];
    let first = char::decode_utf16(units).next().and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER);
    (first, if first.len_utf16() == 2 { 12 } else { 6 })
}

#[cfg(test)]
mod tests;
