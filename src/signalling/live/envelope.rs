//! \[pure\] What a message of the protocol looks like: requests as they come, replies and events as they go. What is relayed
//! inside of them stays as it was, byte for byte.

use std::borrow::Cow;

use bytes::Bytes;

use super::code::Code;
use crate::json_edit::{self, Kind, Value, quote};

/// The reply to what names no action.
const GENERAL: &str = "general";

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) action: Cow<'a, str>,
    data: Option<Value<'a>>,
}

impl<'a> Request<'a> {
    /// `None`: no JSON object with an action.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let envelope = json_edit::whole_value(text).ok()?;
        let action = envelope.member("a")?.string()?;
        Some(Request { action, data: envelope.member("d").filter(|data| data.raw() != b"null") })
    }

    /// What stands below a key of `d`; `null` counts as not being there.
    pub(super) fn field(&self, key: &str) -> Option<Value<'a>> {
        self.data.as_ref()?.member(key).filter(|value| value.raw() != b"null")
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Cow<'a, str>, Code> {
        let text = self.field(key).ok_or(Code::FieldMissing)?.string().ok_or(Code::Json)?;
        if text.is_empty() { Err(Code::FieldMissing) } else { Ok(text) }
    }

    /// A text that may be missing, and may be a number.
    pub(super) fn loose_text(&self, key: &str) -> Result<String, Code> {
        match self.field(key) {
            None => Ok(String::new()),
            Some(value) if value.kind() == Kind::Number => {
                Ok(String::from_utf8_lossy(value.raw()).into_owned())
            }
            Some(value) => value.string().map(Cow::into_owned).ok_or(Code::Json),
        }
    }

    /// A whole number that may be missing, then 0.
    pub(super) fn number(&self, key: &str) -> Result<i64, Code> {
        let Some(value) = self.field(key) else { return Ok(0) };
        std::str::from_utf8(value.raw()).ok().and_then(|text| text.parse().ok()).ok_or(Code::Json)
    }

    /// Whether something is so; what is missing is not.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Code> {
        match self.field(key).map(|value| value.raw()) {
            None | Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            Some(_) => Err(Code::Json),
        }
    }

    /// Fails where `d` is there and is no object.
    pub(super) fn check(&self) -> Result<(), Code> {
        let is_object = self.data.as_ref().is_none_or(|data| data.kind() == Kind::Object);
        if is_object { Ok(()) } else { Err(Code::Json) }
    }
}

/// `{"a":…R,"s":true}`, with `d` where there is something to say.
pub(super) fn success(action: &str, data: Option<Object>) -> Bytes {
    let reply = Object::new().text("a", &format!("{action}R")).raw("s", b"true");
    match data {
        Some(data) => reply.object("d", data).finish(),
        None => reply.finish(),
    }
}

/// `{"a":…R,"s":false,"e":…}`
pub(super) fn failure(action: &str, code: Code) -> Bytes {
    let reply = Object::new().text("a", &format!("{action}R")).raw("s", b"false");
    reply.number("e", code.number().into()).finish()
}

/// What is said of something that names no action.
pub(super) fn unreadable() -> Bytes {
    failure(GENERAL, Code::Json)
}

/// `{"a":…,"d":…}`
pub(super) fn event(name: &str, data: Object) -> Bytes {
    Object::new().text("a", name).object("d", data).finish()
}

/// A JSON object on its way to be written: keys in the order of their adding, raw values as they are.
#[derive(Debug)]
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        Object(vec![b'{'])
    }

    pub(super) fn raw(mut self, key: &str, value: &[u8]) -> Self {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.extend_from_slice(&quote(key));
        self.0.push(b':');
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, &quote(value))
    }

    pub(super) fn number(self, key: &str, value: i64) -> Self {
        self.raw(key, value.to_string().as_bytes())
    }

    pub(super) fn object(self, key: &str, value: Object) -> Self {
        self.raw(key, &value.finish())
    }

    pub(super) fn array(self, key: &str, values: impl IntoIterator<Item = Object>) -> Self {
        let values: Vec<Bytes> = values.into_iter().map(Object::finish).collect();
        self.raw(key, &[&b"["[..], &values.join(&b","[..]), b"]"].concat())
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_what_is_wrong_has_its_code() {
        let text = br#"{"d":{"roomId":"r","n":-3,"x":1.5,"v":2,"e":"","z":null},"a":"join","more":[]}"#;
        let request = Request::read(text).unwrap();
        assert_eq!(request.action, "join");
        assert_eq!(request.text("roomId").unwrap(), "r");
        assert_eq!(request.text("missing").unwrap_err(), Code::FieldMissing);
        assert_eq!(request.text("e").unwrap_err(), Code::FieldMissing);
        assert_eq!(request.text("z").unwrap_err(), Code::FieldMissing);
        assert_eq!(request.text("n").unwrap_err(), Code::Json);
        assert_eq!(request.number("n"), Ok(-3));
        assert_eq!(request.number("x"), Err(Code::Json));
        assert_eq!(request.number("missing"), Ok(0));
        assert_eq!(request.loose_text("v").unwrap(), "2");
        assert_eq!(request.loose_text("roomId").unwrap(), "r");
        assert!(request.check().is_ok());
    }

    #[test]
    fn what_is_no_request_is_none() {
        for text in ["", "{", "[]", "1", "{}", r#"{"a":1}"#, r#"{"a":"x"} x"#, r#"{"d":{}}"#] {
            assert!(Request::read(text.as_bytes()).is_none(), "{text}");
        }
        for text in [r#"{"a":"x","d":1}"#, r#"{"a":"x","d":[]}"#] {
            assert_eq!(Request::read(text.as_bytes()).unwrap().check(), Err(Code::Json), "{text}");
        }
    }

    #[test]
    fn replies_and_events_have_their_shape() {
        assert_eq!(success("join", None), r#"{"a":"joinR","s":true}"#);
        let data = Object::new().number("roomSize", 2).array("sessions", [Object::new().text("id", "\"")]);
        assert_eq!(
            success("join", Some(data)),
            r#"{"a":"joinR","s":true,"d":{"roomSize":2,"sessions":[{"id":"\""}]}}"#
        );
        assert_eq!(failure("x\"", Code::UnknownAction), r#"{"a":"x\"R","s":false,"e":1296}"#);
        assert_eq!(unreadable(), r#"{"a":"generalR","s":false,"e":1282}"#);
        assert_eq!(event("eventLeave", Object::new()), r#"{"a":"eventLeave","d":{}}"#);
    }
}
