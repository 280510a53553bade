//! \[pure\] What a client is told about its camera: the more there are in a room, the smaller each picture.

use super::envelope::Object;
use crate::config::LiveVideo;

/// `userMediaConfiguration` for somebody who finds `others` in the room. All numbers are texts, as clients expect.
pub(super) fn user_media(video: &LiveVideo, others: usize) -> Object {
    let others = u32::try_from(others).unwrap_or(u32::MAX);
    let is_crowd = others >= video.crowd_from;
    let width = if is_crowd { video.crowd_width } else { video.width };
    let height = if is_crowd { video.height / others.div_ceil(2).max(1) } else { video.height };
    let video = Object::new()
        .object("width", range(width / 3, width))
        .object("height", range(height / 3, height))
        .object("frameRate", range(video.min_frame_rate, video.max_frame_rate));
    Object::new().raw("audio", b"true").object("video", video)
}

fn range(min: u32, max: u32) -> Object {
    Object::new().text("min", &min.to_string()).text("max", &max.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_shrink_as_a_room_fills() {
        for (others, width, height) in [
            (0, ("213", "640"), ("193", "580")),
            (2, ("213", "640"), ("193", "580")),
            (3, ("106", "320"), ("96", "290")),
            (4, ("106", "320"), ("96", "290")),
            (5, ("106", "320"), ("64", "193")),
            (7, ("106", "320"), ("48", "145")),
        ] {
            let expected = format!(
                r#"{{"audio":true,"video":{{"width":{{"min":"{}","max":"{}"}},"height":{{"min":"{}","max":"{}"}},"frameRate":{{"min":"10","max":"30"}}}}}}"#,
                width.0, width.1, height.0, height.1
            );
            assert_eq!(user_media(&LiveVideo::default(), others).finish(), expected, "{others} others");
        }
    }
}
