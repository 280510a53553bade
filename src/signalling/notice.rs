//! \[pure\] What a webhook is told when somebody joins or leaves a room.

use std::time::Duration;

use serde_json::{Value, json};

use super::protocol::Notice;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Join,
    Leave,
}

/// `who` and `others` are pairs of username and id.
pub(super) fn notice<'a>(
    change: Change,
    room: &str,
    who: (&str, &str),
    others: impl Iterator<Item = (&'a str, &'a str)>,
    unix: Duration,
) -> Notice {
    let event = match change {
        Change::Join => "join",
        Change::Leave => "leave",
    };
    let others: Vec<Value> =
        others.map(|(username, id)| json!({ "username": username, "peer_id": id })).collect();
    let (username, peer_id) = who;
    let body = json!({
        "event": event, "room": room, "username": username, "peer_id": peer_id, "others": others, "at": rfc3339(unix),
    });
    Notice { room: room.to_owned(), topic: event, body: body.to_string().into_bytes() }
}

/// Such as `2026-11-21T09:30:00.123Z`.
pub(super) fn rfc3339(unix: Duration) -> String {
    let seconds = unix.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let millis = unix.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years begin in March here, so that the leap day is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_who_is_still_there() {
        let at = Duration::from_millis(1_795_253_400_123);
        let others = [("ann", "A=="), ("bob", "B==")];
        let notice = notice(Change::Leave, "r\"1", ("cid", "C=="), others.into_iter(), at);
        assert_eq!(notice.room, "r\"1");
        let body: Value = serde_json::from_slice(&notice.body).unwrap();
        let others = json!([{"username": "ann", "peer_id": "A=="}, {"username": "bob", "peer_id": "B=="}]);
        assert_eq!(
            body,
            json!({"event": "leave", "room": "r\"1", "username": "cid", "peer_id": "C==", "others": others,
                   "at": "2026-11-21T09:30:00.123Z"})
        );
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), expected);
        }
    }
}
