//! \[pure\] Which Janus session a REST request or an answer is about, as far as choosing a server needs it
//! (janus.md §1.1, §2.5). Never judges a message; the dialect does.

use serde::Deserialize;

/// The session in the path of a request: its last number but for a handle's.
pub fn session_in_path(path: &str) -> Option<u64> {
    let mut segments = path.trim_end_matches('/').rsplit('/').map_while(number).fuse();
    let last = segments.next();
    segments.next().or(last)
}

/// The session that an answer tells of: the one it made, or the one that it was asked about and knows.
pub fn session_in_answer(asked_about: Option<u64>, body: &[u8]) -> Option<u64> {
    // A poll is answered with an array, by the server that has the session. One that has not says so in an object.
    if asked_about.is_some() && body.trim_ascii_start().starts_with(b"[") {
        return asked_about;
    }
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    match asked_about {
        Some(id) => (answer.janus != "error").then_some(id),
        None if answer.janus == "success" && answer.session_id.is_none() => answer.data?.id,
        None => None,
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    janus: &'a str,
    session_id: Option<u64>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    id: Option<u64>,
}

fn number(segment: &str) -> Option<u64> {
    segment.bytes().all(|byte| byte.is_ascii_digit()).then(|| segment.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_stands_before_the_handle() {
        for (path, expected) in [
            ("/janus", None),
            ("/", None),
            ("", None),
            ("/janus/info", None),
            ("/janus/71", Some(71)),
            ("/janus/71/", Some(71)),
            ("/janus/71/42", Some(71)),
            ("/a/b/9007199254740991/1", Some(9_007_199_254_740_991)),
            ("/janus/99999999999999999999", None),
            ("/janus/-1", None),
            ("/janus/7/x", None),
        ] {
            assert_eq!(session_in_path(path), expected, "{path}");
        }
    }

    #[test]
    fn an_answer_tells_of_a_session_it_made_or_knows() {
        for (asked, body, expected) in [
            (None, r#"{"janus":"success","transaction":"x","data":{"id":71}}"#, Some(71)),
            (None, r#"{"janus":"success","session_id":5,"data":{"id":71}}"#, None),
            (None, r#"{"janus":"server_info","name":"Janus"}"#, None),
            (None, r#"{"janus":"success","data":{"room":"x"}}"#, None),
            (None, "[]", None),
            (None, "no json", None),
            (Some(5), r#"{"janus":"ack","session_id":5}"#, Some(5)),
            (Some(5), r#"{"janus":"success","session_id":5,"data":{"id":71}}"#, Some(5)),
            (Some(5), " [{\"janus\":\"keepalive\"}]", Some(5)),
            (Some(5), r#"{"janus":"error","error":{"code":458}}"#, None),
            (Some(5), "no json", None),
        ] {
            assert_eq!(session_in_answer(asked, body.as_bytes()), expected, "{body}");
        }
    }
}
