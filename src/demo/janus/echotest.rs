//! \[pure\] What a `message` asks of EchoTest.

use serde_json::{Map, Value, json};

use super::super::echo::Wishes;

/// Its answer to a message that brings no offer, and part of the one that does.
pub(super) fn result(result: &str) -> Value {
    json!({"echotest": "event", "result": result})
}

/// Its answer to a message that it does not understand.
pub(super) fn error(code: u16, text: &str) -> Value {
    json!({"echotest": "event", "error_code": code, "error": text})
}

/// What EchoTest says of an element with a wrong type.
const INVALID_ELEMENT: u16 = 413;

/// What `body` wishes, or what is wrong with it. Everything that is not known is left alone, as a newer client may say more.
pub(super) fn wishes(body: &Map<String, Value>) -> Result<Wishes, Value> {
    Ok(Wishes {
        audio: switch(body, "audio")?,
        video: switch(body, "video")?,
        bitrate: body.get("bitrate").map(|bitrate| number("bitrate", bitrate)).transpose()?,
    })
}

fn switch(body: &Map<String, Value>, key: &str) -> Result<Option<bool>, Value> {
    let Some(value) = body.get(key) else { return Ok(None) };
    value.as_bool().map(Some).ok_or_else(|| wrong(key, "a boolean"))
}

fn number(key: &str, value: &Value) -> Result<u64, Value> {
    value.as_u64().ok_or_else(|| wrong(key, "a positive integer"))
}

fn wrong(key: &str, expected: &str) -> Value {
    error(INVALID_ELEMENT, &format!("Invalid value ({key} should be {expected})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: Value) -> Result<Wishes, Value> {
        wishes(body.as_object().expect("an object"))
    }

    #[test]
    fn what_is_said_is_wished_and_what_is_unknown_is_left_alone() {
        let wished = asked(json!({"audio": false, "bitrate": 128000, "record": true})).expect("understood");
        assert_eq!(wished, Wishes { audio: Some(false), video: None, bitrate: Some(128_000) });
        assert_eq!(asked(json!({})), Ok(Wishes::default()));
    }

    #[test]
    fn a_wrong_type_is_named() {
        for (body, part) in [
            (json!({"audio": 1}), "audio should be a boolean"),
            (json!({"video": "yes"}), "video should be a boolean"),
            (json!({"bitrate": -5}), "bitrate should be a positive integer"),
        ] {
            let error = asked(body).expect_err("refused");
            assert_eq!(error["error_code"], 413);
            assert!(error["error"].as_str().is_some_and(|text| text.contains(part)), "{error}");
        }
    }
}
