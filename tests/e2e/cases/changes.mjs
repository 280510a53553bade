// Calls that change while they run: ICE restart from either side, renegotiation, several PeerConnections.
import assert from 'node:assert/strict';
import { until } from '../lib/processes.mjs';
import { callEcho, echo, everything } from './echotest.mjs';
import { freshRoom, publish, subscribe } from './videoroom.mjs';

// A restart must not be visible: Chromium shows 100-150 ms, as between any two frames. Firefox itself stops for 3 s in one
// restart of three, also straight to Janus.
const LONGEST_STALL_MS = { chromium: 1000, firefox: 5000 };

async function clientRestarts(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
  const before = await caller.stats('echo');
  await caller.watchStalls('echo');
  await caller.offer('echo', { audio: true, video: true }, [], { iceRestart: true });
  await restarted(test, caller, 'echo', before);
  await caller.data('echo', 'after the restart', 'You wrote: after the restart');
}

async function janusRestarts(test) {
  const room = freshRoom();
  const caller = await test.caller();
  await subscribe(caller, room, await publish(caller, room));
  await test.works(caller, 'subscriber');
  const before = await caller.stats('subscriber');
  await caller.watchStalls('subscriber');
  await caller.send('subscriber', { request: 'configure', restart: true });
  await restarted(test, caller, 'subscriber', before);
}

async function restarted(test, caller, name, before) {
  const now = await until('new ufrags on both sides', async () => {
    const stats = await caller.stats(name);
    return stats.ufrags.every((ufrag, side) => ufrag !== before.ufrags[side]) && stats;
  });
  assert.notDeepEqual(now.ufrags, before.ufrags);
  // Longer than the consent of the old pair would carry it, were the new one dead.
  await test.works(caller, name);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await test.works(caller, name);
  const stall = await caller.longestStall(name);
  test.shown.note = `longest time without a new frame: ${stall} ms`;
  assert.ok(stall < LONGEST_STALL_MS[test.spec.browser ?? 'chromium'], `no new frame for ${stall} ms around the restart`);
  if (test.edge.straight) return;
  const session = test.session(caller, name);
  const generations = test.edge.sessions('connected').filter((line) => line.session === session).map((line) => line.generation);
  assert.deepEqual(generations, ['0', '1'], 'generations that the edge connected, in one session');
}

async function videoComesLater(test) {
  const caller = await test.caller();
  await callEcho(caller, 'echo', everything().filter((track) => track.type !== 'video'));
  await test.works(caller, 'echo', { video: false, data: echo });
  const before = await caller.stats('echo');
  await caller.offer('echo', { audio: true, video: true }, [{ type: 'video', capture: true, recv: true, add: true }]);
  await test.works(caller, 'echo');
  assert.deepEqual((await caller.stats('echo')).ufrags, before.ufrags, 'a plain renegotiation keeps the ufrags');
  await caller.data('echo', 'still the same', 'You wrote: still the same');
}

// Janus offers again, to a subscriber that wants one more publisher.
async function subscribesToMore(test) {
  const room = freshRoom();
  const caller = await test.caller();
  await subscribe(caller, room, await publish(caller, room, 'alice'));
  await test.works(caller, 'subscriber');
  const before = await caller.stats('subscriber');
  const feed = await publish(caller, room, 'bob');
  await caller.send('subscriber', { request: 'subscribe', streams: [{ feed }] });
  await caller.message('subscriber', 'videoroom', 'updated');
  await until('video of both', async () => (await caller.stats('subscriber')).playingVideos === 2);
  await test.works(caller, 'subscriber');
  assert.deepEqual((await caller.stats('subscriber')).ufrags, before.ufrags, 'a plain renegotiation keeps the ufrags');
}

async function severalInOneSession(test) {
  const room = freshRoom();
  const caller = await test.caller();
  await callEcho(caller, 'first');
  await callEcho(caller, 'second');
  const feed = await publish(caller, room);
  await subscribe(caller, room, feed);
  await test.works(caller, 'first', { data: echo });
  await test.works(caller, 'second', { data: echo });
  await test.works(caller, 'subscriber');
  await test.works(caller, 'publisher', { video: false, audio: false });
  // One of them going away leaves the others alone.
  await caller.hangup('first');
  await test.works(caller, 'second', { data: { text: 'on my own', expected: 'You wrote: on my own' } });
  await test.works(caller, 'subscriber');
}

const by = (browser) => (browser === 'firefox' ? ', Firefox' : '');

export const clientRestart = (transport, browser = 'chromium') => ({
  name: `ICE restart by the client over ${transport.toUpperCase()}${by(browser)}`, transport, browser, run: clientRestarts,
});
export const janusRestart = (transport) => ({ name: `ICE restart by Janus over ${transport.toUpperCase()}`, transport, run: janusRestarts });
export const janusRenegotiation = (transport) => ({ name: `renegotiation by Janus over ${transport.toUpperCase()}`, transport, run: subscribesToMore });
export const renegotiation = (transport) => ({ name: `renegotiation by the client over ${transport.toUpperCase()}`, transport, run: videoComesLater });
export const severalConnections = (transport) => ({ name: `four PeerConnections, one Janus session, ${transport.toUpperCase()}`, transport, run: severalInOneSession });
