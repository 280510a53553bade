// What must hold in a call: media really arrives, and nothing takes a way around the edge.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ICE_PORT } from './edge.mjs';
import { until } from './processes.mjs';

// Frames and bytes go up three times in a row, after the first ones came.
export async function mediaRises(caller, name, { video = true, audio = true } = {}) {
  const enough = (s) => (!video || s.framesDecoded > 3) && (!audio || s.audioBytes > 0);
  await until(`first media of ${name}`, async () => enough(await caller.stats(name)), { timeout: 10000, every: 100 });
  let last = await caller.stats(name);
  for (let i = 0; i < 3; i++) {
    await sleep(400);
    const now = await caller.stats(name);
    if (video) assert.ok(now.framesDecoded > last.framesDecoded, `video of ${name} stands still at ${now.framesDecoded} frames`);
    if (audio) assert.ok(now.audioBytes > last.audioBytes, `audio of ${name} stands still at ${now.audioBytes} bytes`);
    last = now;
  }
  return last;
}

// Both ends name the edge as their peer, and the browser was told of nothing else.
export async function goesThroughEdge(call, caller, name) {
  const { edge, janus } = call;
  const { remote, remoteCandidates } = await caller.stats(name);
  assert.equal(remote?.address, edge.remoteIp, `${name}: selected remote address of the browser`);
  assert.equal(remote.protocol, 'udp', `${name}: selected transport of the browser`);
  const peer = janusPeer(janus.handleInfo(caller.session, caller.handles.get(name)));
  assert.equal(peer?.ip, edge.backendFacingIp, `${name}: selected remote address of Janus`);
  assert.equal(peer.transport, 'udp', `${name}: selected transport of Janus`);
  if (edge.straight) return;
  assert.equal(remote.port, ICE_PORT, `${name}: selected remote port of the browser`);
  assert.ok(remoteCandidates.length > 0, `${name}: the description for the browser has no candidates`);
  for (const line of remoteCandidates) {
    assert.ok(line.includes(` udp `) && line.includes(` ${edge.remoteIp} ${ICE_PORT} typ host`), `${name}: the browser was told ${line}`);
  }
}

// `counts`: packets during the case, see counters.mjs.
export function noWayAround(counts) {
  assert.ok(counts.janusFromEdge > 0, 'Janus got no packet from the edge');
  assert.ok(counts.clientToEdgePort > 0, 'the browser sent nothing to the port of the edge');
  for (const leak of ['janusFromElsewhere', 'janusToClient', 'clientToJanus', 'clientToOtherEdgePort']) {
    assert.equal(counts[leak], 0, `UDP packets ${leak}`);
  }
}

// From "10.60.0.2:20123 [host,udp] <-> 10.60.0.1:40000 [prflx,udp]".
function janusPeer(info) {
  const pair = JSON.stringify(info).match(/"selected-pair":"[^"]*<-> ([\d.]+|\[[^\]]+\]):(\d+) \[(\w+),(\w+)\]"/);
  return pair && { ip: pair[1], port: Number(pair[2]), type: pair[3], transport: pair[4] };
}
