//! \[pure\] What Janus says, as far as the routed mode listens, and what is said to it (janus.md §1).

use sha2::{Digest, Sha256};

use super::envelope::Object;
use crate::json_edit::{self, Value};

/// Error code of Janus itself: the description cannot be used.
pub(super) const INVALID_SDP: u64 = 465;

/// A message of Janus.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    /// Of the request that it answers.
    pub(super) transaction: Option<u64>,
    /// The handle that an event comes from.
    pub(super) sender: Option<u64>,
    /// What was made by `create` and `attach`.
    pub(super) made: Option<u64>,
    /// The code of an error, of Janus or of the plugin.
    pub(super) error: Option<u64>,
    /// What the plugin says.
    pub(super) data: Option<Value<'a>>,
    /// `{"type":…,"sdp":…}`, nothing else in it.
    pub(super) jsep: Option<Vec<u8>>,
}

/// The values of `janus` that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Success,
    Ack,
    Event,
    Error,
    WebrtcUp,
    HangUp,
    Timeout,
    Other,
}

impl<'a> Message<'a> {
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let message = json_edit::first_value(text).ok()?;
        let kind = match &*message.member("janus")?.string()? {
            "success" => Kind::Success,
            "ack" => Kind::Ack,
            "event" => Kind::Event,
            "error" => Kind::Error,
            "webrtcup" => Kind::WebrtcUp,
            "hangup" => Kind::HangUp,
            "timeout" => Kind::Timeout,
            _ => Kind::Other,
        };
        let integer = |of: &Value<'a>, key| of.member(key)?.integer();
        let data = message.member("plugindata").and_then(|it| it.member("data"));
        let of_plugin = data.as_ref().and_then(|data| integer(data, "error_code"));
        Some(Message {
            kind,
            transaction: message.member("transaction").and_then(|it| it.string()?.parse().ok()),
            sender: integer(&message, "sender"),
            made: message.member("data").and_then(|it| integer(&it, "id")),
            error: message.member("error").and_then(|it| integer(&it, "code")).or(of_plugin),
            data,
            jsep: message.member("jsep").and_then(|jsep| description(&jsep)),
        })
    }

    /// What the plugin says below a key.
    pub(super) fn said(&self, key: &str) -> Option<Value<'a>> {
        self.data.as_ref()?.member(key)
    }
}

/// Type and text of a description, nothing else; `None` where one of them is no text.
pub(super) fn description(jsep: &Value<'_>) -> Option<Vec<u8>> {
    let (kind, sdp) = (jsep.member("type")?, jsep.member("sdp")?);
    (kind.string().is_some() && sdp.string().is_some())
        .then(|| Object::new().raw("type", kind.raw()).raw("sdp", sdp.raw()).finish().to_vec())
}

/// A number for a text, the same every time: 53 bits, so that it survives JavaScript. Nobody finds another text with it.
pub(super) fn number_of(text: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let head = digest.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    (head >> 11).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_for_what_matters() {
        let text = br#"{"janus":"event","session_id":1,"transaction":"7","sender":5884235246914078,
            "plugindata":{"plugin":"janus.plugin.videoroom","data":{"videoroom":"event","error_code":426,"error":"No such room"}},
            "jsep":{"type":"offer","sdp":"v=0\r\n","e2ee":true}}"#;
        let message = Message::read(text).unwrap();
        assert_eq!((message.kind, message.transaction), (Kind::Event, Some(7)));
        assert_eq!((message.sender, message.error), (Some(5_884_235_246_914_078), Some(426)));
        assert_eq!(message.jsep.as_deref(), Some(&br#"{"type":"offer","sdp":"v=0\r\n"}"#[..]));
        let made = Message::read(br#"{"janus":"success","transaction":"1","data":{"id":12}}"#).unwrap();
        assert_eq!((made.kind, made.made), (Kind::Success, Some(12)));
        let error = Message::read(br#"{"janus":"error","error":{"code":458,"reason":"x"}}"#).unwrap();
        assert_eq!((error.kind, error.error, error.transaction), (Kind::Error, Some(458), None));
        for text in ["", "[]", "{}", r#"{"janus":1}"#] {
            assert!(Message::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn numbers_are_stable_and_fit_javascript() {
        assert_eq!(number_of("room"), number_of("room"));
        assert_ne!(number_of("room"), number_of("rooms"));
        assert!((0..1000).all(|n| number_of(&n.to_string()) < 1 << 53));
    }
}
