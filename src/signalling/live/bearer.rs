//! \[pure\] Who somebody is by the bearer of a `join`: a JWT signed with HS256, or one of a table.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, decode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Clocks of those who issue tokens may differ by so much.
const LEEWAY: Duration = Duration::from_secs(5);

/// What is accepted as a bearer.
pub(super) struct Bearers {
    key: Option<DecodingKey>,
    /// By digest: looking one up takes the same time whatever was guessed.
    users_by_digest: HashMap<[u8; 32], String>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "userId")]
    user_id: String,
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Bearers {
    pub(super) fn new<'a>(
        jwt_secret: Option<&str>,
        table: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let entry = |(bearer, user): (&str, &str)| (digest(bearer), user.to_owned());
        Bearers {
            key: jwt_secret.map(|secret| DecodingKey::from_secret(secret.as_bytes())),
            users_by_digest: table.into_iter().map(entry).collect(),
        }
    }

    /// The user of a bearer that is valid at `unix`, time since 1970.
    pub(super) fn user(&self, bearer: &str, unix: Duration) -> Option<String> {
        self.users_by_digest.get(&digest(bearer)).cloned().or_else(|| self.signed(bearer, unix))
    }

    fn signed(&self, bearer: &str, unix: Duration) -> Option<String> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        // The library would read the clock; time is an argument here.
        rules.validate_exp = false;
        rules.validate_aud = false;
        let claims = decode::<Claims>(bearer, self.key.as_ref()?, &rules).ok()?.claims;
        let is_current = claims.exp.is_none_or(|exp| (unix.saturating_sub(LEEWAY)).as_secs_f64() < exp)
            && claims.nbf.is_none_or(|nbf| (unix + LEEWAY).as_secs_f64() >= nbf);
        (is_current && !claims.user_id.is_empty()).then_some(claims.user_id)
    }
}

/// The bytes as a bearer, and as the claims of one that is signed as it should be.
pub(in crate::signalling) fn fuzz(bytes: &[u8]) {
    let bearers = Bearers::new(Some("s"), []);
    let now = Duration::from_secs(1_000_000);
    let head = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256"}"#);
    let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let signature = sign(text.as_bytes(), &EncodingKey::from_secret(b"s"), Algorithm::HS256);
    let signed = format!("{text}.{}", signature.unwrap_or_default());
    for bearer in [&*String::from_utf8_lossy(bytes), &signed] {
        assert!(bearers.user(bearer, now).is_none_or(|user| !user.is_empty()), "a user without a name");
    }
}

fn digest(bearer: &str) -> [u8; 32] {
    Sha256::digest(bearer.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_000_000);

    fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    #[test]
    fn a_signed_bearer_is_its_user_while_it_is_valid() {
        let bearers = Bearers::new(Some("secret"), []);
        let user = |claims: Value| bearers.user(&token(Algorithm::HS256, "secret", &claims), NOW);
        let now = NOW.as_secs();
        assert_eq!(user(json!({"userId": "ann"})).as_deref(), Some("ann"));
        assert_eq!(
            user(json!({"userId": "ann", "exp": now + 1, "aud": "x", "iat": 1})).as_deref(),
            Some("ann")
        );
        assert_eq!(user(json!({"userId": "ann", "exp": now - 6})), None);
        assert_eq!(user(json!({"userId": "ann", "nbf": now + 6})), None);
        assert_eq!(user(json!({"userId": ""})), None);
        assert_eq!(user(json!({"userId": 7})), None);
        assert_eq!(user(json!({"sub": "ann"})), None);
    }

    #[test]
    fn what_is_not_signed_that_way_is_nobody() {
        let bearers = Bearers::new(Some("secret"), []);
        let claims = json!({"userId": "ann"});
        let good = token(Algorithm::HS256, "secret", &claims);
        let (head, rest) = good.split_once('.').unwrap();
        let none = base64_of(r#"{"alg":"none","typ":"JWT"}"#);
        for bearer in [
            String::new(),
            "a.b.c".into(),
            token(Algorithm::HS256, "other", &claims),
            token(Algorithm::HS512, "secret", &claims),
            format!("{none}.{}.", rest.split_once('.').unwrap().0),
            format!("{none}.{rest}"),
            format!("{head}.{rest}x"),
        ] {
            assert_eq!(bearers.user(&bearer, NOW), None, "{bearer}");
        }
        assert_eq!(Bearers::new(None, []).user(&good, NOW), None);
    }

    #[test]
    fn a_bearer_of_the_table_is_its_user() {
        let bearers = Bearers::new(None, [("t0ken", "bob")]);
        assert_eq!(bearers.user("t0ken", NOW).as_deref(), Some("bob"));
        assert_eq!(bearers.user("t0ke", NOW), None);
    }

    fn base64_of(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }
}
