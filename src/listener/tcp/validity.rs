//! \[pure\] The time a certificate holds for (RFC 5280 §4.1.2.5). Clients refuse it before and after; whether they trust who
//! signed it is theirs to know.

use std::time::{Duration, SystemTime};

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

/// From when until when, to the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    from: Time,
    until: Time,
}

impl Validity {
    /// That of a certificate in DER; `None` where it cannot be read.
    pub(super) fn of(der: &[u8]) -> Option<Validity> {
        let certificate = Certificate::from_der(der).ok()?;
        let validity = certificate.tbs_certificate().validity();
        Some(Validity { from: validity.not_before, until: validity.not_after })
    }

    /// Its last second, since 1970.
    pub(super) fn until(&self) -> Duration {
        self.until.to_unix_duration()
    }

    /// Why clients refuse it at this time; `None` where it holds.
    pub(super) fn complaint(&self, now: SystemTime) -> Option<String> {
        if now < self.from.to_system_time() {
            Some(format!("valid from {} on only", self.from))
        } else if now > self.until.to_system_time() {
            Some(format!("expired on {}", self.until))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_certificate_holds_from_its_first_second_to_its_last() {
        let mut params = rcgen::CertificateParams::new(vec!["edge.example".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let validity = Validity::of(made.der()).expect("readable");
        let first = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        assert_eq!(validity.until(), Duration::from_secs(1_767_225_600) + 90 * DAY);
        assert_eq!(
            validity.complaint(first - DAY / 2).as_deref(),
            Some("valid from 2026-01-01T00:00:00Z on only")
        );
        assert_eq!(validity.complaint(first), None);
        assert_eq!(validity.complaint(first + 90 * DAY), None);
        assert_eq!(
            validity.complaint(first + 90 * DAY + Duration::from_secs(1)).as_deref(),
            Some("expired on 2026-04-01T00:00:00Z")
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["edge.example".to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        for length in 0..made.der().len() {
            assert!(Validity::of(&made.der()[..length]).is_none(), "cut to {length}");
        }
        for at in 0..made.der().len() {
            let mut broken = made.der().to_vec();
            broken[at] ^= 0xff;
            // Whatever it says, it says without a panic.
            let _ = Validity::of(&broken).and_then(|validity| validity.complaint(SystemTime::UNIX_EPOCH));
        }
    }
}
