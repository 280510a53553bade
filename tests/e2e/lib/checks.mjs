// What must hold in a call: media really arrives, and nothing takes a way around the edge.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { bracketed } from './edge.mjs';
import { addr } from './namespaces.mjs';
import { until } from './processes.mjs';

// Frames and bytes go up again and again. Patient, since two cores may have other things to do as well.
export async function mediaRises(caller, name, { video = true, audio = true } = {}) {
  let last = { framesDecoded: 3, audioBytes: 0 };
  for (let rises = 0; rises < 4; rises++) {
    const patience = rises === 0 ? 10000 : 3000;
    const before = last;
    last = await until(`more media of ${name} than ${before.framesDecoded} frames, ${before.audioBytes} bytes of audio`, async () => {
      const now = await caller.stats(name);
      return (!video || now.framesDecoded > before.framesDecoded) && (!audio || now.audioBytes > before.audioBytes) && now;
    }, { timeout: patience, every: 100 });
    await sleep(300);
  }
  return last;
}

// Both ends name the edge as their peer, and the browser was told of nothing else.
export async function goesThroughEdge(call, caller, name) {
  const { edge } = call;
  const janus = call.janus.having(caller.session);
  const { remote, remoteCandidates, remoteSdp } = await caller.stats(name);
  assert.equal(remote?.address, edge.remoteIp, `${name}: selected remote address of the browser`);
  assert.equal(remote.protocol, edge.ice.protocol, `${name}: selected transport of the browser`);
  const info = janus.handleInfo(caller.session, caller.handles.get(name));
  const peer = janusPeer(info);
  assert.equal(peer?.ip, edge.backendFacingIp, `${name}: selected remote address of Janus`);
  assert.equal(peer.transport, edge.backendTransport, `${name}: selected transport of Janus`);
  if (edge.straight) return;
  assert.equal(remote.port, edge.ice.port, `${name}: selected remote port of the browser`);
  assert.ok(remoteCandidates.length > 0, `${name}: the description for the browser has no candidates`);
  for (const line of remoteCandidates) {
    assert.ok(line.includes(` ${edge.ice.protocol} `) && line.includes(` ${edge.remoteIp} ${edge.ice.port} typ host`), `${name}: the browser was told ${line}`);
  }
  assert.ok(!remoteSdp.includes(janus.address), `${name}: the address of Janus stands in the SDP for the browser`);
  const seenByJanus = Object.entries(info.sdps ?? {}).find(([key]) => key.endsWith('remote'))?.[1];
  assert.ok(seenByJanus, `${name}: Janus shows the SDP it got`);
  assert.ok(!seenByJanus.includes(edge.clientIp), `${name}: the address of the client stands in the SDP for Janus`);
  const session = call.session(caller, name);
  const connected = edge.sessions('connected').find((line) => line.session === session);
  assert.match(connected?.line ?? 'no line', connectedBy(edge, janus.address), `${name}: what the edge logs`);
}

const escaped = (ip) => bracketed(ip).replaceAll(/[.[\]]/g, '\\$&');

const connectedBy = (edge, janus) => new RegExp(`client=${escaped(edge.clientIp)}:\\d+ > ${escaped(edge.remoteIp)}:${edge.ice.port} backend=${addr.edgeBack}:\\d+ > ${janus}:\\d+`);

// `counts`: packets during the case, see counters.mjs. With ICE over TCP no UDP packet leaves the client at all.
export function noWayAround(counts, { protocol }, backendTransport) {
  assert.equal(counts.janusFromEdge > 0, backendTransport === 'udp', `UDP packets of the edge to Janus: ${counts.janusFromEdge}`);
  assert.equal(counts.clientToEdgePort > 0, protocol === 'udp', `UDP packets of the browser to the port of the edge: ${counts.clientToEdgePort}`);
  for (const leak of ['janusFromElsewhere', 'janusToClient', 'clientToJanus', 'clientToOtherEdgePort']) {
    assert.equal(counts[leak], 0, `UDP packets ${leak}`);
  }
}

// From "10.60.0.2:20123 [host,udp] <-> 10.60.0.1:40000 [prflx,udp]".
function janusPeer(info) {
  const pair = JSON.stringify(info).match(/"selected-pair":"[^"]*<-> ([\d.]+|\[[^\]]+\]):(\d+) \[(\w+),(\w+)\]"/);
  return pair && { ip: pair[1], port: Number(pair[2]), type: pair[3], transport: pair[4] };
}
