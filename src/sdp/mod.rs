//! \[pure\] Session descriptions: what they say of ICE, and the lines that an edge must change in them.
//!
//! A description is edited by lines and never re-encoded: what no rule names survives byte for byte. Nothing here knows
//! which protocol carried the description, or keeps anything between two of them.

pub mod candidate;
mod describe;
mod lines;
mod rewrite;

pub use describe::{Description, IceCredentials, SdpError, Section, is_ice_string};
pub use lines::{Line, Lines, line_ending, lines};
pub use rewrite::{ClientView, hide, towards_client};

/// Largest description that is read, in bytes. The largest captured one, a browser's VideoRoom offer with three streams,
/// has 9 KiB; a conference with a hundred m-sections stays under 200 KiB.
pub const MAX_BYTES: usize = 256 * 1024;

/// Most m-sections of a description that is read. Browsers' conferences reach some dozens; each one costs memory.
pub const MAX_SECTIONS: usize = 128;

/// Most ICE transports of one description. Everything bundled is one; without BUNDLE each m-section is one, and each
/// becomes a session of its own.
pub const MAX_TRANSPORTS: usize = 16;

/// Most candidates of one description that are used; the rest is left out. A backend with two transports on every
/// address of a large host stays below, and each candidate costs checks.
pub const MAX_CANDIDATES: usize = 64;

/// Longest ufrag and password (RFC 8839 §5.4).
pub const MAX_ICE_STRING: usize = 256;

/// Runs every entry of this module over hostile bytes and checks what must hold for any input: nothing panics, and no
/// candidate survives.
pub fn fuzz(data: &[u8]) {
    let sdp = String::from_utf8_lossy(data);
    let joined: String = lines(&sdp).flat_map(|line| [line.text, line.ending]).collect();
    assert_eq!(joined, sdp, "lines lose bytes");
    assert_hidden(&hide(&sdp));

    let Ok(description) = Description::read(&sdp) else { return };
    let edge: [Box<str>; 1] = ["candidate:1 1 udp 1 192.0.2.1 1 typ host".into()];
    let credentials = vec![Some(("uuuu", "pppppppppppppppppppppp")); description.sections.len()];
    let view = ClientView { candidates: &edge, credentials: &credentials, lite: true };
    let shown = towards_client(&sdp, &description, &view);
    assert_hidden(&shown.replace("candidate:1 1 udp 1 192.0.2.1 1 typ host", "x"));
    assert_eq!(shown.matches("192.0.2.1").count(), edge_count(&description, &sdp), "edge candidates missing");
}

fn assert_hidden(sdp: &str) {
    let leaks = lines(sdp)
        .filter_map(|line| line.typed())
        .filter(|(letter, _)| letter.eq_ignore_ascii_case(&b'a'))
        .any(|(_, attribute)| {
            attribute.split(':').next().is_some_and(|it| it.eq_ignore_ascii_case("candidate"))
        });
    assert!(!leaks, "a candidate survives");
}

fn edge_count(description: &Description<'_>, sdp: &str) -> usize {
    let already = hide(sdp).matches("192.0.2.1").count();
    already + description.sections.iter().filter(|section| !section.rejected).count()
}

#[cfg(test)]
mod tests;
