//! A message of the Janus API as typed: which of its parts matter here, and where they stand in its text.
//!
//! It judges nothing and keeps nothing. Names of messages are compared in any case, keys exactly, as Janus does.

use std::borrow::Cow;
use std::fmt;

use crate::dialect::exchange::SdpType;
use crate::json_edit::{Kind as JsonKind, Value};

/// A Janus session or handle id.
pub(super) type Id = u64;

/// Whose exchange it is, for logs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) session: Id,
    pub(super) handle: Id,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "janus session {} handle {}", self.session, self.handle)
    }
}

/// What kind of message it is, as far as that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Trickle,
    Hangup,
    Detach,
    Detached,
    Destroy,
    Timeout,
    Error,
    /// Everything else: `message`, `event`, `ack`, `success`, `keepalive`, …
    Other,
}

/// One message object.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) kind: Kind,
    /// `session_id`, as written.
    pub(super) session: Option<Value<'a>>,
    /// `handle_id` of a request, `sender` of an event.
    pub(super) handle: Option<Value<'a>>,
    pub(super) transaction: Option<Value<'a>>,
    pub(super) jsep: Option<Jsep<'a>>,
    /// `candidate` and `candidates`, the latter an array.
    pub(super) candidate: Option<Value<'a>>,
    pub(super) candidates: Option<Value<'a>>,
    /// `data.id`: what `create` and `attach` made.
    pub(super) made: Option<Id>,
    /// `error.code`.
    pub(super) error: Option<u64>,
    /// A key that matters and stands twice. Parsers differ on which one holds, so nobody may guess.
    pub(super) duplicate: Option<&'static str>,
}

/// A description in a message.
#[derive(Debug)]
pub(super) struct Jsep<'a> {
    pub(super) kind: SdpType,
    /// Where the string stands.
    pub(super) value: Value<'a>,
    /// The string.
    pub(super) sdp: Cow<'a, str>,
}

/// A trickled candidate.
#[derive(Debug, Default)]
pub(super) struct Trickled<'a> {
    pub(super) mid: Option<Cow<'a, str>>,
    pub(super) line_index: Option<usize>,
    pub(super) candidate: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(object: Value<'a>) -> Self {
        const KEYS: [&str; 10] = [
            "janus",
            "session_id",
            "handle_id",
            "sender",
            "transaction",
            "jsep",
            "candidate",
            "candidates",
            "data",
            "error",
        ];
        let mut keys = Members::<10>::read(object, KEYS);
        let [janus, session, handle, sender, transaction, jsep, candidate, candidates, data, error] =
            keys.values;
        let jsep = jsep.and_then(|jsep| Jsep::read(jsep, &mut keys.duplicate));
        Envelope {
            kind: kind(janus),
            session,
            handle: handle.or(sender),
            transaction,
            jsep,
            candidate,
            candidates,
            made: data.and_then(|data| Members::read(data, ["id"]).values[0]?.integer()),
            error: error.and_then(|error| Members::read(error, ["code"]).values[0]?.integer()),
            duplicate: keys.duplicate,
        }
    }

    /// The candidates of a trickle message. `{"completed":true}` comes as one without a candidate.
    pub(super) fn trickled(&self) -> impl Iterator<Item = Trickled<'a>> {
        let many = self.candidates.into_iter().flat_map(|candidates| candidates.elements());
        self.candidate.into_iter().chain(many).map(Trickled::read)
    }
}

impl<'a> Jsep<'a> {
    fn read(jsep: Value<'a>, duplicate: &mut Option<&'static str>) -> Option<Self> {
        let members = Members::read(jsep, ["sdp", "type"]);
        *duplicate = duplicate.or(members.duplicate);
        let [value, kind] = members.values;
        let value = value?;
        let kind = match kind.and_then(|kind| kind.string()) {
            Some(kind) if kind.eq_ignore_ascii_case("offer") => SdpType::Offer,
            Some(kind) if kind.eq_ignore_ascii_case("answer") => SdpType::Answer,
            Some(kind) if kind.eq_ignore_ascii_case("pranswer") => SdpType::Answer,
            _ => SdpType::Other,
        };
        Some(Jsep { kind, value, sdp: value.string()? })
    }
}

impl<'a> Trickled<'a> {
    fn read(object: Value<'a>) -> Self {
        let [mid, line_index, candidate] =
            Members::read(object, ["sdpMid", "sdpMLineIndex", "candidate"]).values;
        Trickled {
            mid: mid.and_then(|mid| mid.string()),
            line_index: line_index.and_then(|index| usize::try_from(index.integer()?).ok()),
            candidate: candidate.and_then(|candidate| candidate.string()),
        }
    }
}

/// The values of some keys of an object; the last one of each holds, as in jansson and in browsers.
struct Members<'a, const N: usize> {
    values: [Option<Value<'a>>; N],
    duplicate: Option<&'static str>,
}

impl<'a, const N: usize> Members<'a, N> {
    fn read(object: Value<'a>, keys: [&'static str; N]) -> Self {
        let mut found = Members { values: [None; N], duplicate: None };
        for (name, value) in object.members() {
            let Some(index) = keys.iter().position(|key| *key == name) else { continue };
            if found.values[index].replace(value).is_some() {
                found.duplicate = Some(keys[index]);
            }
        }
        found
    }
}

fn kind(janus: Option<Value<'_>>) -> Kind {
    let Some(name) = janus.filter(|janus| janus.kind() == JsonKind::String).and_then(|janus| janus.string())
    else {
        return Kind::Other;
    };
    match name.to_ascii_lowercase().as_str() {
        "trickle" => Kind::Trickle,
        "hangup" => Kind::Hangup,
        "detach" => Kind::Detach,
        "detached" => Kind::Detached,
        "destroy" => Kind::Destroy,
        "timeout" => Kind::Timeout,
        "error" => Kind::Error,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_edit::first_value;

    #[test]
    fn a_message_is_read_by_its_unescaped_keys_and_names_of_any_case() {
        let text =
            br#"{"j\u0061nus":"TRICKLE","session_id":9007199254740993,"handle_id":5,"transaction":"a\"b",
            "candidate":{"candidate":"x","sdpMid":"0","sdpMLineIndex":1},"candidates":[{"completed":true}]}"#;
        let envelope = Envelope::read(first_value(text).unwrap());
        assert_eq!(envelope.kind, Kind::Trickle);
        assert_eq!(envelope.session.unwrap().integer(), Some(9_007_199_254_740_993));
        assert_eq!(envelope.transaction.unwrap().raw(), br#""a\"b""#);
        let trickled: Vec<_> = envelope.trickled().map(|it| (it.mid, it.line_index, it.candidate)).collect();
        assert_eq!(trickled, [(Some("0".into()), Some(1), Some("x".into())), (None, None, None)]);
        assert_eq!(envelope.duplicate, None);
    }

    #[test]
    fn a_key_that_matters_and_stands_twice_is_reported() {
        for (text, key) in [
            (r#"{"janus":"message","janus":"x"}"#, Some("janus")),
            (r#"{"jsep":{},"\u006asep":{}}"#, Some("jsep")),
            (r#"{"jsep":{"sdp":"a","type":"offer","sdp":"b"}}"#, Some("sdp")),
            (r#"{"body":1,"body":2}"#, None),
        ] {
            assert_eq!(Envelope::read(first_value(text.as_bytes()).unwrap()).duplicate, key, "{text}");
        }
    }

    #[test]
    fn a_jsep_without_a_string_of_sdp_is_none() {
        for text in [r#"{"jsep":null}"#, r#"{"jsep":{"type":"offer","sdp":5}}"#, r#"{"jsep":[{"sdp":"x"}]}"#]
        {
            assert!(Envelope::read(first_value(text.as_bytes()).unwrap()).jsep.is_none(), "{text}");
        }
    }
}
