use super::*;

fn find<'a>(object: Value<'a>, key: &str) -> Value<'a> {
    object.members().find(|(name, _)| name == key).unwrap().1
}

#[test]
fn values_are_found_by_place_and_replaced_alone() {
    let text =
        r#" { "a" : 9007199254740993, "\u006asep":{"sdp":"x\r\n","e2ee":true , "z":[1e5,{}]}, "b":"\/" } "#;
    let root = first_value(text.as_bytes()).unwrap();
    let sdp = find(find(root, "jsep"), "sdp");
    assert_eq!(sdp.string().unwrap(), "x\r\n");
    assert_eq!(find(root, "a").integer(), Some(9_007_199_254_740_993));
    let mut edits = Edits::default();
    edits.replace(sdp.span(), quote("\"y\"\n"));
    let expected = text.replace(r#""x\r\n""#, r#""\"y\"\n""#);
    assert_eq!(edits.apply(text.as_bytes()), expected.as_bytes());
}

#[test]
fn elements_of_an_array_come_in_order() {
    let text = br#"[ 1 ,"two", [3,[]] ,{"four":4},null, -5.5e-5,[ ] , { } ]"#;
    let raw: Vec<_> = first_value(text).unwrap().elements().map(|value| value.raw()).collect();
    let expected: [&[u8]; 8] =
        [b"1", b"\"two\"", b"[3,[]]", br#"{"four":4}"#, b"null", b"-5.5e-5", b"[ ]", b"{ }"];
    assert_eq!(raw, expected);
    assert_eq!(first_value(b"[]").unwrap().elements().count(), 0);
    assert_eq!(first_value(b"{}").unwrap().members().count(), 0);
    assert_eq!(first_value(b"3").unwrap().elements().count(), 0);
}

#[test]
fn what_follows_the_first_value_does_not_hide_it() {
    let text = b"{\"janus\":\"trickle\"}\0garbage";
    assert_eq!(first_value(text).unwrap().span(), 0..19);
}

#[test]
fn escapes_are_read_as_the_receiver_reads_them() {
    for (raw, text) in [
        (r#""\ud83d\ude00\u00e9\b\f\t\\\/\"""#, "😀é\u{8}\u{c}\t\\/\""),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ude00""#, "\u{fffd}"),
        (r#""ä\u0000""#, "ä\0"),
    ] {
        assert_eq!(first_value(raw.as_bytes()).unwrap().string().unwrap(), text);
    }
    assert_eq!(first_value(b"\"\xff\\n\"").unwrap().string().unwrap(), "\u{fffd}\n");
}

#[test]
fn only_plain_digits_are_an_integer() {
    for text in ["-1", "1e3", "1.0", "99999999999999999999", "\"1\"", "true"] {
        assert_eq!(first_value(text.as_bytes()).unwrap().integer(), None, "{text}");
    }
}

#[test]
fn nesting_is_limited_without_recursion() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(first_value(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(first_value(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep(MAX_DEPTH)));
    assert_eq!(first_value(&vec![b'['; 1_000_000]), Err(JsonError::TooDeep(MAX_DEPTH)));
}

#[test]
fn broken_json_is_told_from_good_json_as_serde_does() {
    let good = br#"{"a":[1,-2.5E+3,"x\u00e9\n",{"b":null,"c":[]},true],"d":{}}"#;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    crate::hostile::sweep(good, &every_byte, agree);
    for text in [
        "01",
        "-",
        "1.",
        "1e",
        "1e+",
        ".5",
        "+1",
        "[1,]",
        "{\"a\":1,}",
        "[,1]",
        "{,}",
        "{\"a\"}",
        "{1:2}",
        "[1 2]",
    ] {
        agree(text.as_bytes());
    }
}

/// Whatever serde reads, this reads too, and the value ends where the text ends. (Not the reverse: text behind the
/// first value, bytes that are not UTF-8 and numbers beyond f64 pass here.)
fn agree(text: &[u8]) {
    let ours = first_value(text);
    let theirs = serde_json::from_slice::<serde_json::Value>(text);
    if let Ok(ours) = ours
        && skip_space(text, ours.end) == text.len()
        && std::str::from_utf8(text).is_ok()
    {
        let lone = theirs.as_ref().is_err_and(|error| {
            error.to_string().contains("surrogate")
                || error.to_string().contains("hex escape")
                || error.to_string().contains("out of range")
        });
        assert!(theirs.is_ok() || lone, "{:?}: {theirs:?}", String::from_utf8_lossy(text));
    }
    if theirs.is_ok() {
        assert!(ours.is_ok(), "{:?}", String::from_utf8_lossy(text));
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived_and_judged_like_serde(text in "[\\[\\]{}:,\"\\\\utfnrse0-9. aé-]{0,40}") {
        agree(text.as_bytes());
    }

    #[test]
    fn quoting_is_undone_by_reading(text: String) {
        let quoted = quote(&text);
        proptest::prop_assert_eq!(first_value(&quoted).unwrap().string().unwrap(), text.as_str());
        proptest::prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
    }
}
