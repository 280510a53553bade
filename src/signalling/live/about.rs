//! \[pure\] What somebody tells of itself when it joins.

use super::code::Code;
use super::envelope::{Object, Request};
use super::relay::MIXER;

/// Longest text that is kept of what somebody tells; names of devices and versions are far shorter.
const MAX_TEXT: usize = 256;

/// A `join` as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) room: String,
    pub(super) bearer: String,
    pub(super) about: About,
}

/// The device, and how it is held. What was never told is `""` or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) platform: String,
    pub(super) device_name: String,
    pub(super) network_type: String,
    pub(super) version: String,
    pub(super) app_version: String,
    pub(super) orientation: i64,
    pub(super) camera: String,
    /// Bits per second, as the client counts.
    pub(super) max_video_bitrate: i64,
    /// Wants to hear the others mixed.
    pub(super) wants_mix: bool,
}

impl Join {
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Code> {
        Ok(Join {
            room: bounded(request.text("roomId")?.into_owned())?,
            bearer: request.text("bearer")?.into_owned(),
            about: About {
                platform: bounded(request.loose_text("platform")?)?,
                device_name: bounded(request.loose_text("deviceName")?)?,
                network_type: bounded(request.loose_text("networkType")?)?,
                version: bounded(request.loose_text("version")?)?,
                app_version: bounded(request.loose_text("appVersion")?)?,
                orientation: request.number("orientation")?,
                camera: bounded(request.loose_text("camera")?)?,
                max_video_bitrate: request.number("maxVideoBitrate")?,
                wants_mix: request.flag(MIXER)?,
            },
        })
    }
}

impl About {
    /// Takes over what an `orientationChange` tells.
    pub(super) fn turned(&mut self, request: &Request<'_>) -> Result<(), Code> {
        let (orientation, camera) = (request.number("orientation")?, bounded(request.loose_text("camera")?)?);
        self.orientation = orientation;
        self.camera = camera;
        Ok(())
    }

    /// Takes over what an `eventNetworkChange` tells.
    pub(super) fn network_changed(&mut self, request: &Request<'_>) -> Result<(), Code> {
        self.network_type = bounded(request.loose_text("networkType")?)?;
        Ok(())
    }

    /// The body of an `eventOrientationChange`.
    pub(super) fn orientation_of(&self, from: Object) -> Object {
        let told = Object::new().object("from", from).text("platform", &self.platform);
        told.number("orientation", self.orientation).text("camera", &self.camera)
    }
}

fn bounded(text: String) -> Result<String, Code> {
    if text.len() <= MAX_TEXT { Ok(text) } else { Err(Code::Json) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &str) -> Result<Join, Code> {
        let text = format!(r#"{{"a":"join","d":{data}}}"#);
        Join::read(&Request::read(text.as_bytes()).unwrap())
    }

    #[test]
    fn old_clients_send_two_fields_and_new_ones_all() {
        let old = read(r#"{"roomId":"r","bearer":"b"}"#).unwrap();
        assert_eq!((&*old.room, &*old.bearer, &old.about), ("r", "b", &About::default()));
        let new = read(
            r#"{"roomId":"r","bearer":"b","platform":"iOS","deviceName":"x","networkType":"wifi","version":"1",
                "appVersion":12,"orientation":90,"camera":"front","maxVideoBitrate":500,"maxAudioBitrate":48,
                "mcu":true}"#,
        );
        let about = new.unwrap().about;
        assert!(about.wants_mix);
        assert_eq!((&*about.app_version, about.orientation, about.max_video_bitrate), ("12", 90, 500));
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_by_its_code() {
        for (data, code) in [
            (r#"{"bearer":"b"}"#, Code::FieldMissing),
            (r#"{"roomId":"","bearer":"b"}"#, Code::FieldMissing),
            (r#"{"roomId":"r"}"#, Code::FieldMissing),
            (r#"{"roomId":7,"bearer":"b"}"#, Code::Json),
            (r#"{"roomId":"r","bearer":"b","orientation":"90"}"#, Code::Json),
            (r#"{"roomId":"r","bearer":"b","camera":[]}"#, Code::Json),
            (r#"{"roomId":"r","bearer":"b","mcu":1}"#, Code::Json),
        ] {
            assert_eq!(read(data), Err(code), "{data}");
        }
        assert_eq!(read(&format!(r#"{{"roomId":"{}","bearer":"b"}}"#, "r".repeat(257))), Err(Code::Json));
    }
}
