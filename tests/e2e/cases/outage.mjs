// Janus dies, stays away, comes back; the edge runs on.
import assert from 'node:assert/strict';
import * as http from 'node:http';
import { setJanusUnreachable } from '../lib/counters.mjs';
import { DIAL_TIMEOUT_MS } from '../lib/edge.mjs';
import { callEcho, echo } from './echotest.mjs';

// Consent of the backend leg expires after 30 s (RFC 7675 §5.1).
const CONSENT_MS = 40000;

async function diesAndReturns(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo');
  const session = test.session(caller, 'echo');

  await test.janus.kill();
  await isRefused(test, 'a port where nobody listens', 1000);
  const { reason } = await test.ended(session, CONSENT_MS);
  assert.equal(reason, caller.transport === 'ws' ? 'signalling_closed' : 'backend_silent');

  await test.janus.start(test.group.nat);
  await test.closePages();
  const again = await test.caller();
  await callEcho(again);
  await test.works(again, 'echo', { data: echo });
}

async function isUnreachable(test) {
  setJanusUnreachable(test.run, true);
  try {
    await isRefused(test, 'a host that does not answer', DIAL_TIMEOUT_MS + 1500);
  } finally {
    setJanusUnreachable(test.run, false);
  }
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
}

// 502 with a reason, for requests as well as for upgrades, and the edge is still there.
async function isRefused(test, what, within) {
  for (const headers of [{}, UPGRADE]) {
    const started = Date.now();
    const { status, body } = await request(test.edge.servers.rest, headers);
    assert.equal(status, 502, `status while Janus is ${what}`);
    assert.ok(body.trim().length > 0, 'the 502 gives a reason');
    assert.ok(Date.now() - started < within, `502 within ${within} ms, took ${Date.now() - started}`);
  }
  assert.ok(test.edge.running, 'the edge runs on');
}

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-protocol': 'janus-protocol',
};

function request(url, headers) {
  const upgrading = 'upgrade' in headers;
  const body = upgrading ? undefined : JSON.stringify({ janus: 'create', transaction: 'e2e' });
  return new Promise((resolve, reject) => {
    const sent = http.request(url, { method: upgrading ? 'GET' : 'POST', headers, timeout: 10000 }, (response) => {
      let text = '';
      response.on('data', (part) => { text += part; });
      response.on('end', () => resolve({ status: response.statusCode, body: text }));
    });
    sent.on('upgrade', (response, socket) => { socket.destroy(); resolve({ status: 101, body: '' }); });
    sent.on('timeout', () => sent.destroy(new Error('no answer within 10 s')));
    sent.on('error', reject);
    sent.end(body);
  });
}

export const outages = () => [
  { name: 'Janus dies in a call and comes back, REST', transport: 'rest', timeout: 90000, edgeOnly: true, run: diesAndReturns },
  { name: 'Janus dies in a call and comes back, WS', transport: 'ws', timeout: 90000, edgeOnly: true, run: diesAndReturns },
  { name: 'Janus unreachable: 502 in time, then works', transport: 'rest', edgeOnly: true, run: isUnreachable },
];
