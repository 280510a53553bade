//! What requests do: Allocate, Refresh, CreatePermission, ChannelBind. Nothing here happens before a valid credential.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::allocation::{Allocation, Client, NotBound, Opening};
use super::authenticate::{Doubt, Gate, Proof};
use super::challenge;
use super::counters::{AuthResult, TurnDrop};
use super::outside::{Family, Full, NoRelay, Opened, Outside, Wish};
use super::peers::Denial;
use super::server::{Server, Verdict};
use super::wire::{self, attribute, error, method};
use crate::stun::{self, AttributeType, Builder, Class, ErrorCode, Message};

/// What a client gets that does not ask, seconds (RFC 8656 §3.2).
const LIFETIME: u32 = 600;
/// Unknown attributes that an answer names; more are nobody's mistake.
const MOST_UNKNOWN: usize = 8;

impl Server {
    /// Any request but Binding.
    pub(super) fn request(
        &mut self,
        now: Instant,
        client: &Client,
        request: &Message<'_>,
        reply: &mut [u8],
        outside: &mut dyn Outside,
    ) -> Verdict {
        if !method::OF_REQUESTS.contains(&request.method()) {
            return Verdict::Drop(TurnDrop::Unexpected);
        }
        let index = self.by_client.get(client).copied();
        let insider = index.map(|index| &self.allocations[index]);
        let gate = Gate {
            realm: &self.realm,
            nonces: &self.nonces,
            now,
            client: client.remote,
            insider: insider.map(|allocation| (&allocation.username, &allocation.keys)),
        };
        let proof = match gate.pass(request, |username| outside.known(username, client.remote.ip())) {
            Ok(proof) => proof,
            Err(Doubt::Ask) => return Verdict::Ask,
            Err(doubt) => return self.doubted(now, client, request, doubt, reply),
        };
        let asked = Asked { now, client: *client, request, proof };
        if insider.is_some_and(|allocation| allocation.username != asked.proof.username) {
            self.counters.count_auth(AuthResult::WrongUser);
            // 441 is for what is asked of an allocation, not for another one (RFC 8656 §19).
            let is_allocate = request.method() == method::ALLOCATE;
            let code = if is_allocate { error::ALLOCATION_MISMATCH } else { error::WRONG_CREDENTIALS };
            return asked.refuse(reply, code);
        }
        self.counters.count_auth(AuthResult::Ok);
        let unknown = request.unknown_required(attribute::KNOWN);
        if unknown.clone().next().is_some() {
            return asked.unknown(reply, unknown.take(MOST_UNKNOWN));
        }
        match (request.method(), index) {
            (method::ALLOCATE, None) => self.allocate(&asked, reply, outside),
            (method::ALLOCATE, Some(index)) => self.allocate_again(&asked, reply, index),
            (method::REFRESH, Some(index)) => self.refresh(&asked, reply, index, outside),
            // Deleting what is gone already is no mistake (RFC 8656 §8.2).
            (method::REFRESH, None) if lifetime(request) == Ok(Some(0)) => {
                asked.accept(reply, |answer| answer.attribute(attribute::LIFETIME, &[0; 4]))
            }
            (method::CREATE_PERMISSION, Some(index)) => self.permit(&asked, reply, index),
            (method::CHANNEL_BIND, Some(index)) => self.bind(&asked, reply, index, outside),
            // The rest needs an allocation.
            _ => asked.refuse(reply, error::ALLOCATION_MISMATCH),
        }
    }

    fn doubted(
        &mut self,
        now: Instant,
        client: &Client,
        request: &Message<'_>,
        doubt: Doubt,
        reply: &mut [u8],
    ) -> Verdict {
        let (result, code) = match doubt {
            Doubt::Unauthenticated(result) => (result, ErrorCode::UNAUTHENTICATED),
            Doubt::Stale => (AuthResult::StaleNonce, error::STALE_NONCE),
            Doubt::Malformed | Doubt::Ask => (AuthResult::Malformed, ErrorCode::BAD_REQUEST),
        };
        self.counters.count_auth(result);
        let allowance = match self.allow_stranger(now, client, request) {
            Ok(allowance) => allowance,
            Err(reason) => return Verdict::Drop(reason),
        };
        let answer = if code == ErrorCode::BAD_REQUEST {
            challenge::refuse(reply, request, code, allowance)
        } else {
            let whom = (now, client.remote);
            challenge::challenge(reply, request, code, &self.realm, &self.nonces, whom, allowance)
        };
        answer.map_or(Verdict::Drop(TurnDrop::Amplification), |len| Verdict::Reply { len })
    }

    /// RFC 8656 §7.2.
    fn allocate(&mut self, asked: &Asked<'_>, reply: &mut [u8], outside: &mut dyn Outside) -> Verdict {
        let wanted = match Wanted::read(asked.request, self.max_lifetime) {
            Ok(wanted) => wanted,
            Err(code) => return asked.refuse(reply, code),
        };
        let (user, remote) = (&asked.proof.username, asked.client.remote.ip());
        match outside.admit(user, remote) {
            Ok(()) => {}
            Err(Full::Quota) => {
                self.counters.refused_quota += 1;
                return asked.refuse(reply, error::QUOTA_REACHED);
            }
            Err(Full::Server) => {
                self.counters.refused_capacity += 1;
                return asked.refuse(reply, error::INSUFFICIENT_CAPACITY);
            }
        }
        match wanted.open(outside) {
            Ok(relays) => self.opened(asked, reply, relays, wanted.lifetime),
            Err(reason) => {
                outside.release(user, remote);
                self.counters.refused_capacity += u64::from(reason == NoRelay::Exhausted);
                asked.refuse(reply, code_of(reason))
            }
        }
    }

    fn opened(&mut self, asked: &Asked<'_>, reply: &mut [u8], relays: Relays, lifetime: u32) -> Verdict {
        let Relays { opened, also, missing } = relays;
        let allocation = Allocation::new(
            asked.now,
            Opening {
                client: asked.client,
                username: asked.proof.username.clone(),
                keys: asked.proof.keys.clone(),
                relays: [Some(opened.relay), also.map(|also| also.relay)],
                transaction: asked.request.transaction_id(),
                reservation: opened.token,
                missing: missing.map(|(family, reason)| (family, code_of(reason))),
                lifetime,
            },
        );
        let verdict = allocated(asked, reply, &allocation);
        self.counters.allocated += 1;
        self.keep(asked.now, allocation);
        verdict
    }

    /// A retransmission is answered as before, another Allocate is a mistake (RFC 8656 §7.2).
    fn allocate_again(&mut self, asked: &Asked<'_>, reply: &mut [u8], index: usize) -> Verdict {
        let allocation = &self.allocations[index];
        if allocation.transaction != asked.request.transaction_id() {
            return asked.refuse(reply, error::ALLOCATION_MISMATCH);
        }
        allocated(asked, reply, allocation)
    }

    /// RFC 8656 §8.2.
    fn refresh(
        &mut self,
        asked: &Asked<'_>,
        reply: &mut [u8],
        index: usize,
        outside: &mut dyn Outside,
    ) -> Verdict {
        let (family, lifetime) = match self.refreshed(asked.request, index) {
            Ok(refreshed) => refreshed,
            Err(code) => return asked.refuse(reply, code),
        };
        match (lifetime, family) {
            (0, None) => self.end(index, outside),
            (0, Some(family)) => self.end_family(index, family, outside),
            _ => {
                let until = asked.now + Duration::from_secs(lifetime.into());
                self.allocations[index].refresh(family, until);
                self.set_timer(asked.now, index);
            }
        }
        asked.accept(reply, |answer| answer.attribute(attribute::LIFETIME, &lifetime.to_be_bytes()))
    }

    /// The relay of which family, or all of them, and for how long, seconds.
    fn refreshed(&self, request: &Message<'_>, index: usize) -> Result<(Option<Family>, u32), ErrorCode> {
        let family = match request.get(attribute::REQUESTED_ADDRESS_FAMILY).map(family) {
            None => None,
            Some(None) => return Err(error::ADDRESS_FAMILY_NOT_SUPPORTED),
            Some(Some(family)) if self.allocations[index].has(family) => Some(family),
            Some(Some(_)) => return Err(error::PEER_FAMILY_MISMATCH),
        };
        let lifetime = match lifetime(request)? {
            Some(0) => 0,
            wanted => granted(wanted, self.max_lifetime),
        };
        Ok((family, lifetime))
    }

    /// RFC 8656 §10.2: all of them, or none.
    fn permit(&mut self, asked: &Asked<'_>, reply: &mut [u8], index: usize) -> Verdict {
        let peers: Result<Vec<SocketAddr>, ErrorCode> = asked.peers();
        let peers = match peers {
            Ok(peers) => peers,
            Err(code) => return asked.refuse(reply, code),
        };
        let mut permitted = Vec::with_capacity(peers.len());
        for peer in &peers {
            if self.allocations[index].relay_for(peer.ip()).is_none() {
                return asked.refuse(reply, error::PEER_FAMILY_MISMATCH);
            }
            match self.policy.peers.check(peer.ip()) {
                Ok(allowed) => permitted.push((peer.ip(), allowed)),
                Err(reason) => return self.forbid(asked, reply, reason, peer),
            }
        }
        let allocation = &mut self.allocations[index];
        if !allocation.has_room_for(asked.now, permitted.iter().map(|(ip, _)| *ip)) {
            return asked.refuse(reply, error::INSUFFICIENT_CAPACITY);
        }
        for (ip, allowed) in permitted {
            allocation.permit(asked.now, ip, allowed);
        }
        asked.accept(reply, |answer| answer)
    }

    /// RFC 8656 §12.2.
    fn bind(
        &mut self,
        asked: &Asked<'_>,
        reply: &mut [u8],
        index: usize,
        outside: &mut dyn Outside,
    ) -> Verdict {
        let number = asked.request.get(attribute::CHANNEL_NUMBER).and_then(|value| value.first_chunk::<2>());
        let number =
            number.map(|number| u16::from_be_bytes(*number)).filter(|number| wire::is_channel(*number));
        let (Some(number), Some(peer)) = (number, asked.request.xor_address(attribute::XOR_PEER_ADDRESS))
        else {
            return asked.refuse(reply, ErrorCode::BAD_REQUEST);
        };
        if self.allocations[index].relay_for(peer.ip()).is_none() {
            return asked.refuse(reply, error::PEER_FAMILY_MISMATCH);
        }
        let permitted = self.policy.peers.check(peer.ip());
        let way = permitted.and_then(|allowed| Ok((allowed, self.policy.way(peer, allowed, outside)?)));
        let (allowed, way) = match way {
            Ok(way) => way,
            Err(reason) => return self.forbid(asked, reply, reason, &peer),
        };
        let allocation = &mut self.allocations[index];
        if !allocation.has_room_for(asked.now, std::iter::once(peer.ip())) {
            return asked.refuse(reply, error::INSUFFICIENT_CAPACITY);
        }
        match allocation.bind(asked.now, number, peer, (allowed, way)) {
            Ok(()) => {}
            Err(NotBound::Taken) => return asked.refuse(reply, ErrorCode::BAD_REQUEST),
            Err(NotBound::Full) => return asked.refuse(reply, error::INSUFFICIENT_CAPACITY),
        }
        allocation.permit(asked.now, peer.ip(), allowed);
        asked.accept(reply, |answer| answer)
    }

    fn forbid(&mut self, asked: &Asked<'_>, reply: &mut [u8], reason: Denial, peer: &SocketAddr) -> Verdict {
        self.note_denial(asked.now, &asked.client, reason, peer.ip());
        asked.refuse(reply, error::FORBIDDEN)
    }
}

/// A request whose sender is known.
struct Asked<'a> {
    now: Instant,
    client: Client,
    request: &'a Message<'a>,
    proof: Proof,
}

impl Asked<'_> {
    /// Every peer that the request names, which has room for a few dozen ([`stun::MAX_ATTRIBUTES`]).
    fn peers(&self) -> Result<Vec<SocketAddr>, ErrorCode> {
        let peers = self.request.xor_addresses(attribute::XOR_PEER_ADDRESS);
        let peers: Option<Vec<SocketAddr>> = peers.collect();
        peers.filter(|peers| !peers.is_empty()).ok_or(ErrorCode::BAD_REQUEST)
    }

    fn accept(&self, reply: &mut [u8], with: impl for<'b> FnOnce(Builder<'b>) -> Builder<'b>) -> Verdict {
        self.answer(with(self.start(reply, Class::Success)))
    }

    fn refuse(&self, reply: &mut [u8], code: ErrorCode) -> Verdict {
        self.answer(self.start(reply, Class::Error).error_code(code))
    }

    fn unknown(&self, reply: &mut [u8], unknown: impl Iterator<Item = AttributeType> + Clone) -> Verdict {
        let error = self.start(reply, Class::Error).error_code(ErrorCode::UNKNOWN_ATTRIBUTE);
        self.answer(error.unknown_attributes(unknown))
    }

    fn start<'b>(&self, reply: &'b mut [u8], class: Class) -> Builder<'b> {
        Builder::new(reply, class, self.request.method(), self.request.transaction_id())
    }

    fn answer(&self, answer: Builder<'_>) -> Verdict {
        match stun::closed(self.proof.sign(answer), self.request) {
            Some(len) => Verdict::Reply { len },
            None => Verdict::Drop(TurnDrop::Unexpected),
        }
    }
}

/// What an Allocate asks for.
struct Wanted {
    wish: Wish,
    with_ipv6: bool,
    /// What it gets of that, seconds.
    lifetime: u32,
}

/// What it gets. Of two families one may be missing; the client is told which, and why (RFC 8656 §7.2).
struct Relays {
    opened: Opened,
    also: Option<Opened>,
    missing: Option<(Family, NoRelay)>,
}

impl Wanted {
    /// The checks of RFC 8656 §7.2, in its order.
    fn read(request: &Message<'_>, longest: u32) -> Result<Wanted, ErrorCode> {
        match request.get(attribute::REQUESTED_TRANSPORT) {
            Some([wire::UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(error::UNSUPPORTED_TRANSPORT),
            _ => return Err(ErrorCode::BAD_REQUEST),
        }
        let lifetime = granted(lifetime(request)?, longest);
        let requested = request.get(attribute::REQUESTED_ADDRESS_FAMILY).map(family);
        let additional = request.get(attribute::ADDITIONAL_ADDRESS_FAMILY).map(family);
        let even =
            request.get(attribute::EVEN_PORT).map(|value| value.first().is_some_and(|bits| bits & 0x80 != 0));
        if let Some(token) = request.get(attribute::RESERVATION_TOKEN) {
            let token = token.try_into().map_err(|_| ErrorCode::BAD_REQUEST)?;
            let is_alone = requested.is_none() && additional.is_none() && even.is_none();
            return if is_alone {
                Ok(Wanted { wish: Wish::Reserved(token), with_ipv6: false, lifetime })
            } else {
                Err(ErrorCode::BAD_REQUEST)
            };
        }
        let with_ipv6 = match (requested, additional) {
            (_, None) => false,
            (None, Some(Some(Family::V6))) if even != Some(true) => true,
            _ => return Err(ErrorCode::BAD_REQUEST),
        };
        let family = match requested {
            None => Family::V4,
            Some(Some(family)) => family,
            Some(None) => return Err(error::ADDRESS_FAMILY_NOT_SUPPORTED),
        };
        let wish = even.map_or(Wish::Any(family), |reserve| Wish::Even { family, reserve });
        Ok(Wanted { wish, with_ipv6, lifetime })
    }

    fn open(&self, outside: &mut dyn Outside) -> Result<Relays, NoRelay> {
        let first = outside.open(self.wish);
        if !self.with_ipv6 {
            return first.map(|opened| Relays { opened, also: None, missing: None });
        }
        match (first, outside.open(Wish::Any(Family::V6))) {
            (Ok(opened), Ok(also)) => Ok(Relays { opened, also: Some(also), missing: None }),
            (Ok(opened), Err(reason)) => {
                Ok(Relays { opened, also: None, missing: Some((Family::V6, reason)) })
            }
            (Err(reason), Ok(opened)) => {
                Ok(Relays { opened, also: None, missing: Some((Family::V4, reason)) })
            }
            // What passes is worth another try.
            (Err(NoRelay::Exhausted), Err(_)) => Err(NoRelay::Exhausted),
            (Err(NoRelay::Family), Err(reason)) => Err(reason),
        }
    }
}

fn allocated(asked: &Asked<'_>, reply: &mut [u8], allocation: &Allocation) -> Verdict {
    asked.accept(reply, |mut answer| {
        for relay in allocation.relays() {
            answer = answer.xor_address(attribute::XOR_RELAYED_ADDRESS, relay.address);
        }
        if let Some((family, ErrorCode(code))) = allocation.missing {
            let value = [family_number(family), 0, (code / 100) as u8, (code % 100) as u8];
            answer = answer.attribute(attribute::ADDRESS_ERROR_CODE, &value);
        }
        if let Some(token) = &allocation.reservation {
            answer = answer.attribute(attribute::RESERVATION_TOKEN, token);
        }
        answer
            .attribute(attribute::LIFETIME, &allocation.lifetime.to_be_bytes())
            .xor_mapped_address(asked.client.remote)
    })
}

fn code_of(reason: NoRelay) -> ErrorCode {
    match reason {
        NoRelay::Family => error::ADDRESS_FAMILY_NOT_SUPPORTED,
        NoRelay::Exhausted => error::INSUFFICIENT_CAPACITY,
    }
}

/// LIFETIME, where there is one.
fn lifetime(request: &Message<'_>) -> Result<Option<u32>, ErrorCode> {
    let Some(value) = request.get(attribute::LIFETIME) else { return Ok(None) };
    let value = value.try_into().map_err(|_| ErrorCode::BAD_REQUEST)?;
    Ok(Some(u32::from_be_bytes(value)))
}

/// At least the usual, at most the longest lifetime.
fn granted(wanted: Option<u32>, longest: u32) -> u32 {
    wanted.unwrap_or(LIFETIME).clamp(LIFETIME.min(longest), longest)
}

/// RFC 8656 §18.6; `None` for anything else.
fn family(value: &[u8]) -> Option<Family> {
    match value {
        [1, ..] => Some(Family::V4),
        [2, ..] => Some(Family::V6),
        _ => None,
    }
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}
