//! The offer/answer exchange of one PeerConnection (RFC 3264, RFC 8839 §4), whatever protocol carries it.
//!
//! It decides which ICE transports the two descriptions make, what the client is shown in place of the backend's
//! credentials, and when the packet side learns of a session, of a new generation of one, or of its end. It looks at who
//! described what and whether that was an offer or an answer, never at which request an answer came in. It never touches
//! text.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use crate::sdp::MAX_CANDIDATES;
use crate::session::registration::{
    BackendCandidate, CandidateTransport, Command, Credentials, EndReason, Mode, Origin, Owner, Registration,
    Role, SessionId,
};

use super::facts::Facts;
use super::{Context, Settings, Side};

/// What a description is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SdpType {
    Offer,
    /// An answer, provisional ones included.
    Answer,
    /// Neither: it changes nothing.
    Other,
}

/// Everything known of one PeerConnection.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The newest description of each side.
    client: Option<Facts>,
    backend: Option<Facts>,
    /// What the client is shown for each m-section of `backend`.
    shown: Vec<Option<Credentials>>,
    /// The newest description of that side is an offer without an answer yet.
    client_offers: bool,
    backend_offers: bool,
    /// When the newest offer was seen.
    offered: Option<Instant>,
    /// Who offered first. Restarts keep the roles that follow from it (RFC 8445 §6.1.1).
    first_offer: Option<Side>,
    live: Vec<Live>,
    /// Trickled by the backend since its newest description; the next one takes them over, because Janus trickles
    /// before it answers, and after a restart may not repeat what it trickled before.
    trickled: Vec<Trickle>,
    /// The client was told that the candidates of `backend` are complete.
    completed: bool,
}

/// A candidate that came by itself.
#[derive(Debug)]
pub(super) struct Trickle {
    pub(super) mid: Option<Box<str>>,
    pub(super) line_index: Option<usize>,
    pub(super) candidate: BackendCandidate,
}

/// A registered transport.
#[derive(Debug)]
struct Live {
    id: SessionId,
    generation: u32,
    /// The m-section that stands for it.
    tag: usize,
    client: Credentials,
    backend: Credentials,
    origin: Arc<Origin>,
    owner: Arc<Owner>,
    edge: Credentials,
    candidates: Vec<BackendCandidate>,
}

/// A transport that both descriptions agree on.
struct Agreed {
    tag: usize,
    client: Credentials,
    backend: Credentials,
    edge: Credentials,
    candidates: Vec<BackendCandidate>,
}

impl Exchange {
    /// The client described itself.
    pub(super) fn client_described(
        &mut self,
        cx: &mut Context<'_>,
        settings: &Settings,
        name: &dyn Display,
        facts: Facts,
        kind: SdpType,
    ) {
        self.client = Some(facts);
        self.client_offers = kind == SdpType::Offer;
        self.note_offer(cx, kind);
        if kind == SdpType::Answer {
            self.backend_offers = false;
            self.agree(cx, settings, name, Side::Backend);
        }
    }

    /// The backend described itself. Returns the credentials to show to the client, per m-section.
    pub(super) fn backend_described(
        &mut self,
        cx: &mut Context<'_>,
        settings: &Settings,
        name: &dyn Display,
        mut facts: Facts,
        kind: SdpType,
    ) -> &[Option<Credentials>] {
        for trickle in self.trickled.drain(..) {
            facts.add(facts.named(trickle.mid.as_deref(), trickle.line_index), trickle.candidate);
        }
        self.shown = self.show(cx, settings, &facts, kind);
        self.backend = Some(facts);
        self.backend_offers = kind == SdpType::Offer;
        self.note_offer(cx, kind);
        self.completed = false;
        if kind == SdpType::Answer {
            self.client_offers = false;
            self.agree(cx, settings, name, Side::Client);
        }
        &self.shown
    }

    /// The backend trickled a candidate. While an offer of the client waits, it belongs to the answer to come.
    pub(super) fn backend_trickled(&mut self, commands: &mut Vec<Command>, trickle: Trickle) {
        let current = self.backend.as_mut().filter(|_| !self.client_offers);
        if let Some(backend) = current {
            let section = backend.named(trickle.mid.as_deref(), trickle.line_index);
            if backend.add(section, trickle.candidate.clone()) {
                let tags =
                    [Some(backend.tag(section)), self.client.as_ref().map(|client| client.tag(section))];
                let credentials = backend.credentials(section);
                let of_section =
                    |it: &&mut Live| tags.contains(&Some(it.tag)) && Some(&it.backend) == credentials;
                if let Some(live) = self.live.iter_mut().find(of_section) {
                    live.add_candidates(commands, vec![trickle.candidate.clone()]);
                }
            }
        }
        if self.trickled.len() < MAX_CANDIDATES {
            self.trickled.push(trickle);
        }
    }

    /// Whether the client is to be told now that the candidates are complete: once per description, when that has
    /// passed.
    pub(super) fn completes(&mut self) -> bool {
        let passed = self.backend.is_some() && !self.client_offers;
        passed && !std::mem::replace(&mut self.completed, true)
    }

    /// The PeerConnection is over; the handle may make another one.
    pub(super) fn end(&mut self, commands: &mut Vec<Command>, reason: EndReason) {
        self.end_live(commands, reason);
        *self = Exchange::default();
    }

    /// The backend hung up. An offer of the client that waits is for the next PeerConnection: the event about the last
    /// one may come after it.
    pub(super) fn backend_hung_up(&mut self, commands: &mut Vec<Command>) {
        self.end_live(commands, EndReason::Hangup);
        let old = std::mem::take(self);
        if old.client_offers {
            *self = Exchange {
                client: old.client,
                client_offers: true,
                offered: old.offered,
                ..Exchange::default()
            };
        }
    }

    /// The packet side ended a session; whatever comes next for that transport is a new one.
    pub(super) fn ended(&mut self, session: SessionId) {
        self.live.retain(|live| live.id != session);
    }

    /// The newest description of the client.
    pub(super) fn client(&self) -> Option<&Facts> {
        self.client.as_ref()
    }

    /// The newest description of the backend.
    pub(super) fn backend(&self) -> Option<&Facts> {
        self.backend.as_ref()
    }

    /// The newest description of the backend is an offer that nobody answered yet.
    pub(super) fn backend_offers(&self) -> bool {
        self.backend_offers
    }

    /// Whether the packet side serves a part of it.
    pub(super) fn is_live(&self) -> bool {
        !self.live.is_empty()
    }

    fn note_offer(&mut self, cx: &Context<'_>, kind: SdpType) {
        if kind == SdpType::Offer {
            self.offered = Some(cx.now);
        }
    }

    fn end_live(&mut self, commands: &mut Vec<Command>, reason: EndReason) {
        commands.extend(self.live.drain(..).map(|live| Command::End(live.id, reason)));
    }

    /// What the client is shown for each m-section of a description of the backend.
    fn show(
        &self,
        cx: &mut Context<'_>,
        settings: &Settings,
        facts: &Facts,
        kind: SdpType,
    ) -> Vec<Option<Credentials>> {
        let mut shown: Vec<Option<Credentials>> = Vec::with_capacity(facts.sections.len());
        for section in &facts.sections {
            let credentials = match &section.credentials {
                Some(backend) if settings.mode == Mode::Transparent => Some(backend.clone()),
                Some(backend) if !section.rejected => {
                    let same = facts.sections[..shown.len()].iter().zip(&shown);
                    let mut same = same
                        .filter(|(it, _)| it.tag == section.tag && it.credentials.as_ref() == Some(backend));
                    let before = same.next().and_then(|(_, edge)| edge.clone());
                    let before = before.or_else(|| self.shown_before(facts, section.tag, backend, kind));
                    Some(before.unwrap_or_else(|| mint(cx)))
                }
                _ => None,
            };
            shown.push(credentials);
        }
        shown
    }

    /// What the client knows already: the same transport with the same credentials on both sides, or an offer that the
    /// backend repeats.
    fn shown_before(
        &self,
        facts: &Facts,
        tag: usize,
        backend: &Credentials,
        kind: SdpType,
    ) -> Option<Credentials> {
        let client = self
            .client
            .as_ref()
            .and_then(|client| client.credentials(tag))
            .filter(|_| kind == SdpType::Answer);
        let same =
            |live: &&Live| live.backend == *backend && client.is_none_or(|client| live.client == *client);
        let moved = |live: &&Live| same(live) && !facts.transports().any(|tag| tag == live.tag);
        let live = self
            .live
            .iter()
            .find(|live| live.tag == tag && same(live))
            .or_else(|| self.live.iter().find(moved));
        live.map(|live| live.edge.clone()).or_else(|| {
            let open = self.backend_offers && kind == SdpType::Offer;
            let offered = self.backend.as_ref().filter(|_| open)?;
            (offered.credentials(tag) == Some(backend)).then(|| self.shown.get(tag)?.clone())?
        })
    }

    /// Both sides have described themselves: registers what is new, ends what is gone.
    fn agree(&mut self, cx: &mut Context<'_>, settings: &Settings, name: &dyn Display, offerer: Side) {
        let agreed = self.agreed(settings, offerer);
        if agreed.is_empty() {
            return;
        }
        let first_offer = *self.first_offer.get_or_insert(offerer);
        let lite = self.backend.as_ref().is_some_and(|backend| backend.lite);
        let role = if first_offer == Side::Client || lite { Role::Controlling } else { Role::Controlled };

        let mut old = std::mem::take(&mut self.live);
        let mut changed = Vec::new();
        for agreed in agreed {
            match take(&mut old, |live| live.client == agreed.client && live.backend == agreed.backend) {
                Some(mut live) => {
                    live.tag = agreed.tag;
                    live.add_candidates(cx.commands, agreed.candidates);
                    self.keep(live);
                }
                None => changed.push(agreed),
            }
        }
        for agreed in changed {
            let restarted = take(&mut old, |live| live.tag == agreed.tag);
            let live = match restarted {
                Some(live) => live.restart(agreed),
                None => Live::start(cx, settings, self.label(name, agreed.tag), self.offered, agreed),
            };
            cx.commands.push(live.register(settings, role));
            self.keep(live);
        }
        cx.commands.extend(old.into_iter().map(|live| Command::End(live.id, EndReason::Replaced)));
    }

    /// Mostly there is one for good.
    fn keep(&mut self, live: Live) {
        self.live.reserve_exact(1);
        self.live.push(live);
    }

    /// The transports of the answer: it settles which m-sections are bundled (RFC 9143 §7.3).
    fn agreed(&self, settings: &Settings, offerer: Side) -> Vec<Agreed> {
        let (Some(client), Some(backend)) = (&self.client, &self.backend) else { return Vec::new() };
        let answer = if offerer == Side::Client { backend } else { client };
        let transport = |tag| {
            let belongs = |section: usize| section == backend.tag(tag) || answer.tag(section) == tag;
            let candidates = backend.candidates.iter().filter(|(section, _)| belongs(*section));
            let mut candidates: Vec<_> = candidates.map(|(_, candidate)| candidate.clone()).collect();
            candidates
                .sort_by_key(|it| (it.transport == CandidateTransport::TcpPassive) != settings.prefer_tcp);
            Some(Agreed {
                tag,
                client: client.credentials(tag)?.clone(),
                backend: backend.credentials(tag)?.clone(),
                edge: self.shown.get(tag)?.clone()?,
                candidates,
            })
        };
        answer.transports().filter_map(transport).collect()
    }

    /// How a transport is named in logs; the first one goes without its mid.
    fn label(&self, name: &dyn Display, tag: usize) -> Box<str> {
        let sections = self.client.as_ref().map_or(&[][..], |client| &client.sections);
        match sections.get(tag).and_then(|section| section.mid.as_ref()) {
            _ if self.live.is_empty() => name.to_string().into(),
            Some(mid) => format!("{name} mid {mid}").into(),
            None => format!("{name} m-section {tag}").into(),
        }
    }
}

impl Live {
    fn start(
        cx: &mut Context<'_>,
        settings: &Settings,
        label: Box<str>,
        offered: Option<Instant>,
        agreed: Agreed,
    ) -> Self {
        let mut id = [0; 8];
        (cx.random)(&mut id);
        let origin = Arc::new(Origin { route: settings.route.clone(), label });
        let Agreed { tag, client, backend, edge, candidates } = agreed;
        let owner = Arc::new(Owner::nobody_since(offered));
        Live {
            id: SessionId(u64::from_ne_bytes(id)),
            generation: 0,
            tag,
            client,
            backend,
            origin,
            owner,
            edge,
            candidates,
        }
    }

    fn restart(self, agreed: Agreed) -> Self {
        let Agreed { tag, client, backend, edge, candidates } = agreed;
        Live { generation: self.generation + 1, tag, client, backend, edge, candidates, ..self }
    }

    fn register(&self, settings: &Settings, role: Role) -> Command {
        Command::Register(Arc::new(Registration {
            session: self.id,
            generation: self.generation,
            mode: settings.mode,
            edge: self.edge.clone(),
            client: self.client.clone(),
            backend: self.backend.clone(),
            role,
            prefer_tcp: settings.prefer_tcp,
            candidates: self.candidates.clone(),
            origin: self.origin.clone(),
            owner: self.owner.clone(),
        }))
    }

    fn add_candidates(&mut self, commands: &mut Vec<Command>, candidates: Vec<BackendCandidate>) {
        let room = MAX_CANDIDATES.saturating_sub(self.candidates.len());
        let new: Arc<[_]> =
            candidates.into_iter().filter(|it| !self.candidates.contains(it)).take(room).collect();
        if !new.is_empty() {
            self.candidates.extend(new.iter().cloned());
            commands.push(Command::AddCandidates(self.id, new));
        }
    }
}

fn take<T>(list: &mut Vec<T>, mut wanted: impl FnMut(&T) -> bool) -> Option<T> {
    let at = list.iter().position(&mut wanted)?;
    Some(list.swap_remove(at))
}

/// Credentials of the edge: 96 bits of ufrag, which keep sessions apart, and 192 bits of password (RFC 8445 §5.3 asks for
/// 24 and 128).
fn mint(cx: &mut Context<'_>) -> Credentials {
    Credentials { ufrag: ice_string::<16>(cx), pwd: ice_string::<32>(cx) }
}

fn ice_string<const LENGTH: usize>(cx: &mut Context<'_>) -> Arc<str> {
    const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = [0; LENGTH];
    (cx.random)(&mut random);
    random.iter().map(|byte| char::from(ICE_CHARS[usize::from(byte % 64)])).collect::<String>().into()
}
