//! \[pure\] Undoes the content codings of a body that a dialect reads (RFC 9110 §8.4). Never inflates past the given
//! limit, whatever a body claims.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Why a body stays closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodingError {
    /// Only gzip, deflate and identity are known.
    #[error("content coding `{0}` is not gzip, deflate or identity")]
    Unknown(String),
    /// The data is not what its label says.
    #[error("body is not valid {0} data")]
    Broken(&'static str),
    /// More than the limit.
    #[error("body is larger than {0} bytes when decoded")]
    TooLarge(usize),
}

/// How often a body may be coded over; real ones are coded once.
const MAX_CODINGS: usize = 3;

/// `body` without the codings of `content_encoding`, which lists them in the order they were applied. `None`: there is
/// nothing to undo.
pub(super) fn decode(
    content_encoding: &str,
    body: &[u8],
    limit: usize,
) -> Result<Option<Vec<u8>>, CodingError> {
    let codings = content_encoding.split(',').map(str::trim).filter(|coding| !coding.is_empty());
    let codings: Vec<&str> = codings.filter(|coding| !coding.eq_ignore_ascii_case("identity")).collect();
    if codings.len() > MAX_CODINGS {
        return Err(CodingError::Unknown(content_encoding.to_owned()));
    }
    let mut decoded: Option<Vec<u8>> = None;
    for coding in codings.into_iter().rev() {
        decoded = Some(undo(coding, decoded.as_deref().unwrap_or(body), limit)?);
    }
    Ok(decoded)
}

fn undo(coding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, CodingError> {
    match coding.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => inflate(MultiGzDecoder::new(body), limit).map_err(|why| why.of("gzip")),
        // "deflate" means the zlib format, but some senders leave its two header bytes away.
        "deflate" => match inflate(ZlibDecoder::new(body), limit) {
            Err(Inflate::Broken) => inflate(DeflateDecoder::new(body), limit),
            other => other,
        }
        .map_err(|why| why.of("deflate")),
        _ => Err(CodingError::Unknown(coding.to_owned())),
    }
}

enum Inflate {
    Broken,
    TooLarge(usize),
}

impl Inflate {
    fn of(self, coding: &'static str) -> CodingError {
        match self {
            Inflate::Broken => CodingError::Broken(coding),
            Inflate::TooLarge(limit) => CodingError::TooLarge(limit),
        }
    }
}

fn inflate(decoder: impl Read, limit: usize) -> Result<Vec<u8>, Inflate> {
    let mut decoded = Vec::new();
    let read: io::Result<usize> = decoder.take(limit as u64 + 1).read_to_end(&mut decoded);
    match read {
        Ok(_) if decoded.len() > limit => Err(Inflate::TooLarge(limit)),
        Ok(_) => Ok(decoded),
        Err(_) => Err(Inflate::Broken),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = br#"{"janus":"message","jsep":{"type":"offer"}}"#;

    #[test]
    fn each_known_coding_is_undone_alone_and_nested() {
        let nested = gzip(&zlib(TEXT));
        for (label, body) in [
            ("gzip", gzip(TEXT)),
            ("X-GZIP", gzip(TEXT)),
            ("deflate", zlib(TEXT)),
            ("deflate", raw_deflate(TEXT)),
            ("deflate, gzip", nested.clone()),
            ("identity, deflate ,gzip,", nested.clone()),
        ] {
            assert_eq!(decode(label, &body, 1000).unwrap().as_deref(), Some(TEXT), "{label}");
        }
        assert_eq!(decode("identity", TEXT, 1000), Ok(None));
        assert_eq!(decode("", TEXT, 1000), Ok(None));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(decode("gzip", &bomb, 1 << 20), Err(CodingError::TooLarge(1 << 20)));
        assert_eq!(decode("gzip", &gzip(&[7; 100]), 100).unwrap().map(|body| body.len()), Some(100));
        assert_eq!(decode("gzip", &gzip(&[7; 101]), 100), Err(CodingError::TooLarge(100)));
    }

    #[test]
    fn unknown_and_excessive_codings_are_refused() {
        assert!(matches!(decode("br", TEXT, 1000), Err(CodingError::Unknown(_))));
        assert!(matches!(decode("gzip,gzip,gzip,gzip", TEXT, 1000), Err(CodingError::Unknown(_))));
    }

    #[test]
    fn damaged_bodies_are_errors_and_never_panics() {
        for (label, good) in [("gzip", gzip(TEXT)), ("deflate", zlib(TEXT))] {
            for length in 0..good.len() {
                let cut = decode(label, &good[..length], 1000);
                assert!(
                    cut.is_err() || cut.as_ref().is_ok_and(|body| body.as_deref() != Some(TEXT)),
                    "{length}"
                );
            }
            for at in 0..good.len() {
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    let _ = decode(label, &bad, 1000);
                }
            }
        }
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }
}
