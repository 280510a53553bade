// `xrtc demo`: its page in both browsers, over UDP and over TCP, and janus.js against its echo.
import assert from 'node:assert/strict';
import { mediaRises } from '../lib/checks.mjs';
import { addr } from '../lib/namespaces.mjs';
import { until } from '../lib/processes.mjs';
import { callEcho, echo, everything } from './echotest.mjs';

const READY = 'window.demo !== undefined';

// The page connects by itself: pictures, sound and messages come back, by `protocol` and through the edge's port alone.
async function page(test, { scheme = 'http', query = '', protocol = 'udp', signalling = 'WebSocket', source = 'drawn' }) {
  test.edge.goes(protocol);
  const shown = await test.openPage(`${test.edge.pages[scheme]}${query}`, READY);
  const snapshot = () => shown.evaluate(() => window.demo.snapshot());
  const connected = await until('the page connects', async () => {
    const seen = await snapshot();
    if (seen?.state === 'failed') throw new Error(`the page says: ${seen.reason}`);
    return seen?.state === 'connected' && seen.pair && seen;
  }, { timeout: 20000, every: 100 });
  test.shown.connectedMs = connected.connectedMs;
  assert.equal(connected.pair.remote, `${addr.edgeFront}:${test.edge.ice.port}`, 'selected remote of the browser');
  assert.equal(connected.pair.transport, protocol.toUpperCase());
  assert.equal(connected.signalling, signalling);
  assert.equal(connected.source, source);
  assert.match(await shown.$eval('#headline', (it) => it.textContent), /^Connected in \d+ ms$/);
  test.shown.frames = (await comesBack(snapshot)).frames;
  return { shown, snapshot };
}

async function comesBack(snapshot) {
  let last = await snapshot();
  for (let rises = 0; rises < 3; rises++) {
    last = await until('more pictures, sound and messages', async () => {
      const now = await snapshot();
      const rose = ['frames', 'audioBytes', 'dataEchoes'].every((key) => now[key] > (last[key] ?? 0));
      return rose && now;
    }, { timeout: 10000, every: 200 });
  }
  // Read from the picture itself: it is the one that was drawn here, a moment ago.
  const { pictureMs } = await until('a picture that can be read', async () => {
    const now = await snapshot();
    return now.pictureMs !== undefined && now;
  });
  assert.ok(pictureMs < 3000, `the picture came back after ${pictureMs} ms`);
  return last;
}

async function restarts(test) {
  const { shown, snapshot } = await page(test, {});
  await shown.evaluate(() => window.demo.restart());
  const generations = () => test.edge.sessions('connected').filter(({ session }) => session === test.edge.sessions('registered').at(-1).session);
  await until('the edge connects the new generation', () => generations().length === 2);
  await comesBack(snapshot);
  assert.deepEqual(generations().map((line) => line.generation), ['0', '1']);
}

// The camera needs HTTPS. Nobody told the page that UDP is closed.
const withoutUdp = (test) => test.edge.withoutUdp(() => page(test, { scheme: 'https', query: '?source=camera', protocol: 'tcp', source: 'camera' }));

async function janusJs(test, change) {
  test.edge.goes('udp');
  const caller = await test.caller();
  await callEcho(caller, 'echo', everything().filter(({ type }) => change || type !== 'video'));
  const { connectedMs, remote } = await caller.connected('echo');
  test.shown.connectedMs = connectedMs;
  assert.deepEqual([remote.address, remote.port], [addr.edgeFront, test.edge.ice.port], 'selected remote of the browser');
  await mediaRises(caller, 'echo', { video: Boolean(change) });
  await caller.data('echo', echo.text, echo.expected);
  const before = await caller.stats('echo');
  if (change) await change(caller);
  else await caller.offer('echo', { audio: true, video: true }, [{ type: 'video', capture: true, recv: true, add: true }]);
  const after = await caller.stats('echo');
  assert.equal(after.ufrags[1] === before.ufrags[1], !change, 'a plain renegotiation keeps the credentials, a restart does not');
  test.shown.frames = (await mediaRises(caller, 'echo')).framesDecoded;
  await caller.data('echo', 'still there', 'You wrote: still there');
  const session = test.session(caller, 'echo');
  await caller.detach('echo');
  // The browser's farewell over DTLS and the request race.
  assert.match((await test.ended(session)).reason, /^(hangup|detached)$/, 'how the session ended at the edge');
}

const iceRestart = (caller) => caller.offer('echo', { audio: true, video: true }, [], { iceRestart: true });

export const demos = () => [
  { name: 'the page, over UDP, and an ICE restart', run: restarts },
  { name: 'the page with camera, UDP blocked', run: withoutUdp },
  { name: 'the page, over UDP, Firefox', browser: 'firefox', run: (test) => page(test, {}) },
  { name: 'the page, REST and TCP alone, Firefox', browser: 'firefox', run: (test) => page(test, { query: '?transport=tcp&signalling=rest', protocol: 'tcp', signalling: 'REST' }) },
  { name: 'janus.js over REST, ICE restart', transport: 'rest', run: (test) => janusJs(test, iceRestart) },
  { name: 'janus.js over WS, video comes later', transport: 'ws', run: (test) => janusJs(test) },
].map((spec) => ({ ...spec, edgeOnly: true }));

async function inFrontOfJanus(test) {
  const { shown } = await page(test, {});
  assert.match(await shown.$eval('#server', (it) => it.textContent), /^Janus WebRTC Server \d/);
}

export const demoInFrontOfJanus = () => [{ name: 'the page, over UDP', edgeOnly: true, run: inFrontOfJanus }];
