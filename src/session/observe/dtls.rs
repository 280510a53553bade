//! \[pure\] What the first record of a DTLS packet says in the clear (RFC 6347 §4.1, RFC 9147 §4.1). Reads only what
//! everybody on the way can read; keys stay with the two ends.

/// Content types (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Bytes of a record header before its content.
const RECORD_HEADER: usize = 13;
/// Handshake types (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// A packet's first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The DTLS client starts.
    ClientHello,
    /// The DTLS server answers.
    ServerHello,
    /// One side gives up, and says why before anything is encrypted.
    Alert {
        /// RFC 8446 §6.
        description: u8,
    },
    /// Anything else, or encrypted.
    Other,
}

impl Record {
    /// The first record of `packet`.
    pub fn of(packet: &[u8]) -> Record {
        let epoch_zero = packet.get(3..5) == Some(&[0, 0]);
        match (packet.first(), packet.get(RECORD_HEADER)) {
            (Some(&HANDSHAKE), Some(&CLIENT_HELLO)) if epoch_zero => Record::ClientHello,
            (Some(&HANDSHAKE), Some(&SERVER_HELLO)) if epoch_zero => Record::ServerHello,
            (Some(&ALERT), Some(_)) if epoch_zero => packet
                .get(RECORD_HEADER + 1)
                .map_or(Record::Other, |&description| Record::Alert { description }),
            _ => Record::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_in_the_clear_are_known_and_encrypted_ones_are_not() {
        let record = |kind: u8, epoch: u8, first: u8| {
            let mut packet = [0; 20];
            (packet[0], packet[4], packet[13], packet[14]) = (kind, epoch, first, 40);
            Record::of(&packet)
        };
        assert_eq!(record(22, 0, 1), Record::ClientHello);
        assert_eq!(record(22, 0, 2), Record::ServerHello);
        assert_eq!(record(21, 0, 2), Record::Alert { description: 40 });
        for (kind, epoch, first) in [(22, 0, 11), (22, 1, 1), (21, 1, 2), (23, 1, 0), (20, 0, 1), (47, 0, 1)]
        {
            assert_eq!(record(kind, epoch, first), Record::Other, "{kind} {epoch} {first}");
        }
        for len in 0..14 {
            assert_eq!(Record::of(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..len]), Record::Other);
        }
    }
}
