//! \[pure\] WebSocket messages out of bytes and into bytes (RFC 6455 §5).
//!
//! Reassembles fragments up to a limit, passes control frames at once, and names what a peer did wrong together with its
//! close code. Frame headers are read and written by `tungstenite`; its message layer is not used because it answers
//! pings itself, and a proxy that answers for a silent client hides from the backend that the client is gone.

use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A message as a proxy passes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Valid UTF-8.
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong(Bytes),
    /// Code and reason as sent; empty when neither was.
    Close(Bytes),
}

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("message is larger than {0} bytes")]
    TooLarge(usize),
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("{0}")]
    Malformed(&'static str),
}

impl Violation {
    /// RFC 6455 §7.4.1.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Violation::TooLarge(_) => 1009,
            Violation::NotUtf8 => 1007,
            Violation::Malformed(_) => 1002,
        }
    }
}

/// Who sends the frames, which decides about masking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Masks every frame.
    Client,
    /// Masks none.
    Server,
}

/// Turns what one peer sends into messages.
#[derive(Debug)]
pub(crate) struct Decoder {
    sender: Sender,
    limit: usize,
    buffer: BytesMut,
    frame: Option<Frame>,
    partial: Option<(Data, BytesMut)>,
}

/// A frame whose payload is still arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: Option<[u8; 4]>,
    length: usize,
}

/// Longest payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

impl Decoder {
    pub(crate) fn new(sender: Sender, limit: usize) -> Self {
        Decoder { sender, limit, buffer: BytesMut::new(), frame: None, partial: None }
    }

    /// Where received bytes are to be put.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many more bytes the frame that is arriving needs, as far as is known.
    pub(crate) fn missing(&self) -> usize {
        self.frame.map_or(0, |frame| frame.length.saturating_sub(self.buffer.len()))
    }

    /// The next whole message, or `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Violation> {
        loop {
            if self.frame.is_none() {
                self.frame = self.header()?;
            }
            let Some(frame) = self.frame.filter(|frame| frame.length <= self.buffer.len()) else {
                return Ok(None);
            };
            self.frame = None;
            let mut payload = self.buffer.split_to(frame.length);
            if let Some(mask) = frame.mask {
                apply_mask(&mut payload, mask);
            }
            if let Some(message) = self.accept(frame, payload)? {
                return Ok(Some(message));
            }
        }
    }

    fn header(&mut self) -> Result<Option<Frame>, Violation> {
        let mut cursor = Cursor::new(&self.buffer[..]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Malformed("unknown opcode"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let size = cursor.position() as usize;
        let frame = self.check(&header, length)?;
        self.buffer.advance(size);
        Ok(Some(frame))
    }

    fn check(&self, header: &FrameHeader, length: u64) -> Result<Frame, Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Malformed("reserved bit without extension"));
        }
        if header.mask.is_some() != (self.sender == Sender::Client) {
            return Err(Violation::Malformed("clients mask every frame, servers none"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match header.opcode {
            OpCode::Control(_) if length > MAX_CONTROL || !header.is_final => {
                return Err(Violation::Malformed("control frame is fragmented or longer than 125 bytes"));
            }
            OpCode::Data(Data::Continue) if self.partial.is_none() => {
                return Err(Violation::Malformed("continuation of nothing"));
            }
            OpCode::Data(Data::Text | Data::Binary) if self.partial.is_some() => {
                return Err(Violation::Malformed("new message before the end of the last one"));
            }
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                return Err(Violation::Malformed("unknown opcode"));
            }
            OpCode::Control(_) | OpCode::Data(_) => {}
        }
        let before = self.partial.as_ref().map_or(0, |(_, data)| data.len());
        if length.saturating_add(before) > self.limit.max(MAX_CONTROL) {
            return Err(Violation::TooLarge(self.limit));
        }
        Ok(Frame { opcode: header.opcode, is_final: header.is_final, mask: header.mask, length })
    }

    fn accept(&mut self, frame: Frame, payload: BytesMut) -> Result<Option<Message>, Violation> {
        match frame.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Message::Ping(payload.freeze()))),
            OpCode::Control(Control::Pong) => Ok(Some(Message::Pong(payload.freeze()))),
            OpCode::Control(_) => checked_close(payload.freeze()).map(Some),
            OpCode::Data(kind) => {
                let (kind, data) = match self.partial.take() {
                    Some((kind, mut data)) => {
                        data.unsplit(payload);
                        (kind, data)
                    }
                    None => (kind, payload),
                };
                if frame.is_final {
                    return whole(kind, data.freeze()).map(Some);
                }
                self.partial = Some((kind, data));
                Ok(None)
            }
        }
    }
}

/// Writes `message` as one frame; `mask` is for what goes to a server.
pub(crate) fn encode(message: &Message, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let (opcode, payload) = match message {
        Message::Text(payload) => (OpCode::Data(Data::Text), payload),
        Message::Binary(payload) => (OpCode::Data(Data::Binary), payload),
        Message::Ping(payload) => (OpCode::Control(Control::Ping), payload),
        Message::Pong(payload) => (OpCode::Control(Control::Pong), payload),
        Message::Close(payload) => (OpCode::Control(Control::Close), payload),
    };
    let header = FrameHeader { is_final: true, rsv1: false, rsv2: false, rsv3: false, opcode, mask };
    out.reserve(header.len(payload.len() as u64) + payload.len());
    // Writing into memory that grows cannot fail.
    let _ = header.format(payload.len() as u64, &mut out.writer());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask);
    }
}

/// A close message with a code and a reason of at most 123 bytes.
pub(crate) fn close(code: u16, reason: &str) -> Message {
    let mut payload = BytesMut::with_capacity(2 + reason.len());
    payload.put_u16(code);
    let end = reason.floor_char_boundary(MAX_CONTROL - 2);
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    Message::Close(payload.freeze())
}

fn whole(kind: Data, data: Bytes) -> Result<Message, Violation> {
    if kind != Data::Text {
        return Ok(Message::Binary(data));
    }
    std::str::from_utf8(&data).map_err(|_| Violation::NotUtf8)?;
    Ok(Message::Text(data))
}

/// RFC 6455 §5.5.1 and §7.4: nothing, or a code that may be sent and a reason in UTF-8.
fn checked_close(payload: Bytes) -> Result<Message, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        if payload.is_empty() {
            return Ok(Message::Close(payload));
        }
        return Err(Violation::Malformed("close code is cut"));
    };
    match u16::from_be_bytes(*code) {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(Violation::Malformed("close code that may not be sent")),
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Message::Close(payload))
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    for chunk in payload.chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

/// Fuzz body: the first byte says who sends and in what pieces. Pieces change nothing, no message is larger than the limit,
/// and what was read is read again when it is written.
pub fn fuzz(data: &[u8]) {
    const LIMIT: usize = 300;
    let Some((how, wire)) = data.split_first() else { return };
    let (sender, mask) =
        if how & 1 == 0 { (Sender::Client, Some([1, 2, 3, *how])) } else { (Sender::Server, None) };
    let read = |wire: &[u8], piece: usize| {
        let mut decoder = Decoder::new(sender, LIMIT);
        let mut seen = Vec::new();
        for part in wire.chunks(piece) {
            decoder.buffer().extend_from_slice(part);
            while let Some(message) = decoder.next().transpose() {
                let stops = message.is_err();
                seen.push(message);
                if stops {
                    return seen;
                }
            }
        }
        seen
    };
    let seen = read(wire, wire.len().max(1));
    assert_eq!(seen, read(wire, usize::from(how >> 1).max(1)), "pieces change what is read");
    let mut again = BytesMut::new();
    for message in seen.iter().flatten() {
        encode(message, mask, &mut again);
    }
    let good: Vec<_> = seen.into_iter().filter(Result::is_ok).collect();
    assert!(again.len() <= wire.len() + good.len() * 14, "messages are larger than what was received");
    assert_eq!(read(&again, again.len().max(1)), good, "what is written is not what was read");
}

#[cfg(test)]
#[path = "ws_frame_tests.rs"]
mod tests;
