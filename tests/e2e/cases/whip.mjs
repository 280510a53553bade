// WHIP and WHEP with clients that we did not write, in front of an endpoint that we did not write.
import assert from 'node:assert/strict';
import { HTTP_PORT, ICE_PORT } from '../lib/edge.mjs';
import { addr } from '../lib/namespaces.mjs';
import { until } from '../lib/processes.mjs';

const endpoint = (kind) => `http://${addr.edgeFront}:${HTTP_PORT}/live/${kind}`;

// Connects through the edge alone, media flows, and the end of the session by URL ends it at the edge.
async function call(test, client, kind, flows, options) {
  const before = test.janus.seen();
  const page = await test.page('whip.html');
  await page.evaluate((...args) => window.e2e.start(...args), client, endpoint(kind), options);
  const stats = () => page.evaluate(() => window.e2e.stats());
  const seen = await until('the client connects', async () => {
    const now = await stats();
    return now.state === 'connected' && now.remote && now;
  }, { timeout: 15000, every: 100 });
  assert.deepEqual(seen.remote, { address: addr.edgeFront, port: ICE_PORT }, 'selected remote of the browser');
  assert.ok(!seen.remoteSdp.includes(addr.janus), 'the address of the endpoint stands in the SDP for the browser');
  const counted = async () => flows === 'up' ? test.janus.seen().frames.video : (await stats()).framesDecoded;
  for (let rises = 0, last = await counted(); rises < 3; rises++) {
    last = await until('more frames', async () => { const now = await counted(); return now > last && now; }, { timeout: 15000, every: 200 });
    test.shown.frames = last;
  }
  const after = test.janus.seen();
  const offer = after.offers.at(-1);
  assert.ok(!offer.includes('a=candidate') && !offer.includes(addr.client), 'the endpoint was shown the client');
  assert.deepEqual(after.patches, before.patches, 'trickle reached the endpoint');
  const [session] = test.edge.sessions('registered').slice(-1);
  await page.evaluate(() => window.e2e.stop());
  const ended = await test.ended(session.session, 8000);
  assert.equal(ended.reason, 'hangup', 'how the session ended at the edge');
  assert.equal(test.janus.seen().deleted, before.deleted + 1, 'DELETE reached the endpoint');
}

const clients = [
  ['whip-whep publishes', 'publisher', 'whip', 'up'],
  ['whip-whep plays', 'player', 'whep', 'down'],
  ['Eyevinn publishes', 'eyevinnPublisher', 'whip', 'up'],
  ['Eyevinn publishes without trickle', 'eyevinnPublisher', 'whip', 'up', { noTrickleIce: true, timeout: 500 }],
  ['Eyevinn plays', 'eyevinnPlayer', 'whep', 'down'],
];

export const whip = () => clients.map(([name, ...args]) => ({ name, edgeOnly: true, run: (test) => call(test, ...args) }));
