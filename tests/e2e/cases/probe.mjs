// xrtc probe against a real Janus and a real WHIP endpoint, through the edge and straight: what works, and each cause by name.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import * as counters from '../lib/counters.mjs';
import { ICE_PORT } from '../lib/edge.mjs';
import { restOf, wsOf } from '../lib/janus.mjs';
import { addr, inNamespace } from '../lib/namespaces.mjs';

// Runs the program in `side`'s namespace; resolves with what it said and its exit code.
function probe(test, args, side = 'client') {
  const [file, ...all] = inNamespace(test.run, side, [test.edge.binary, 'probe', '--json', ...args]);
  return new Promise((resolve, reject) => {
    execFile(file, all, { timeout: 40000 }, (error, stdout, stderr) => {
      try {
        resolve({ code: error ? error.code : 0, ...JSON.parse(stdout) });
      } catch (failure) {
        reject(new Error(`xrtc probe said no JSON: ${failure.message}: ${stdout} ${stderr}`));
      }
    });
  });
}

async function expect(test, args, cause, code, { side, says } = {}) {
  const report = await probe(test, args, side);
  const told = JSON.stringify(report.verdict);
  assert.deepEqual([report.verdict.code, report.code], [cause, code], `${told}\n${JSON.stringify(report.steps, null, 1)}`);
  if (says) assert.match(`${report.verdict.message} ${report.verdict.fix}`, says);
  return report;
}

const attempt = (report, transport) => report.transports.find((attempt) => attempt.transport === transport);

function wholeCall(attempt) {
  assert.equal(attempt.state, 'works', JSON.stringify(attempt));
  const { audio, video, data, dtls_ms: dtls } = attempt.call;
  assert.ok(audio.returned >= 45 && video.returned >= 9 && data.returned === 5, JSON.stringify(attempt.call));
  assert.equal(audio.server_receives, true, 'Janus says that it receives audio');
  assert.ok(dtls < 900, `DTLS took ${dtls} ms: a flight was missed`);
}

// Nothing of the probe may try another way than the edge's one port.
const edgeOnly = { edgeOnly: true };
// No call takes place, or not through the edge.
const noCall = { edgeOnly: true, control: true };

async function echoes(test, transport) {
  const report = await expect(test, [test.edge.servers[transport]], 'works', 0);
  wholeCall(attempt(report, 'udp'));
  assert.equal(report.server.edge, true, 'the edge is recognised');
  assert.equal(attempt(report, 'udp').paths[0].candidate, `${addr.edgeFront}:${ICE_PORT}`);
  test.shown.connectedMs = Math.round(attempt(report, 'udp').call.ice_ms + attempt(report, 'udp').call.dtls_ms);
}

async function straight(test) {
  for (const url of [`${restOf(addr.janus)}/janus`, wsOf(addr.janus)]) {
    const report = await expect(test, ['--transport', 'udp', url], 'works', 0, { side: 'edge' });
    wholeCall(attempt(report, 'udp'));
    assert.equal(report.server.edge, null);
    assert.match(report.server.name, /Janus/);
  }
}

// The firewall of the edge's machine, while `run` runs.
async function withRule(test, side, rule, run) {
  counters.rule(test.run, side, 'add', rule);
  try {
    await run();
  } finally {
    counters.rule(test.run, side, 'remove', rule);
  }
}

async function closedPort(test) {
  const port = ['-p', 'udp', '--dport', String(ICE_PORT), '-j'];
  const url = test.edge.servers.rest;
  await withRule(test, 'edge', [...port, 'DROP'], () =>
    expect(test, [url], 'port-silent', 5, { says: /UDP 10\.50\.0\.1:6001: no answer to 7 checks.*open UDP 6001/ }));
  await withRule(test, 'edge', [...port, 'REJECT'], () => expect(test, [url], 'port-refused', 5));
}

async function brokenBackendLeg(test) {
  const rule = ['-p', 'udp', '-j', 'DROP'];
  await withRule(test, 'janus', rule, () =>
    expect(test, [test.edge.servers.ws], 'dtls-silent', 6, { says: /answers STUN, but no DTLS comes back from the media server/ }));
}

async function janusIsDown(test) {
  await test.janus.kill();
  try {
    for (const transport of ['rest', 'ws']) {
      await expect(test, [test.edge.servers[transport]], 'upstream-down', 4, { says: /502.*10\.60\.0\.2/ });
    }
  } finally {
    await test.janus.start(test.group.nat);
  }
  await expect(test, [test.edge.servers.rest], 'works', 0);
}

async function missingPlugin(test) {
  const args = ['--plugin', 'janus.plugin.nope', test.edge.servers.rest];
  await expect(test, args, 'plugin-missing', 4, { says: /janus\.plugin\.echotest/ });
  await expect(test, [`${test.edge.servers.rest}x`], 'http-not-found', 4);
}

async function certificates(test) {
  const { https, wss } = test.edge.servers;
  await expect(test, [https], 'tls-unknown-ca', 3);
  const report = await expect(test, ['--ca-file', test.edge.certificate, https], 'works', 0);
  for (const transport of ['tcp', 'tls']) wholeCall(attempt(report, transport));
  assert.equal(attempt(report, 'udp').state, 'not_offered');
  const insecure = await expect(test, ['--insecure', '--transport', 'tcp', wss], 'works', 0);
  assert.equal(insecure.warnings.length, 1, JSON.stringify(insecure.warnings));
}

async function wrongCandidate(test) {
  await expect(test, [test.edge.servers.rest], 'candidate-elsewhere', 5, { says: /10\.50\.0\.99:6001.*10\.50\.0\.1\).*candidate_ips/ });
}

async function secrets(test) {
  const url = test.edge.servers.rest;
  await expect(test, [url], 'janus-unauthorized', 4, { says: /wants a token or API secret/ });
  await expect(test, ['--apisecret', 'wrong', url], 'janus-unauthorized', 4, { says: /refuses/ });
  for (const transport of ['rest', 'ws']) {
    wholeCall(attempt(await expect(test, ['--apisecret', 's3 cr&t', test.edge.servers[transport]], 'works', 0), 'udp'));
  }
}

async function trickled(test) {
  const report = await expect(test, [`${restOf(addr.janus)}/janus`], 'works', 0, { side: 'edge' });
  for (const transport of ['udp', 'tcp']) wholeCall(attempt(report, transport));
  assert.equal(attempt(report, 'tls').state, 'not_offered');
  const overSocket = await expect(test, ['--transport', 'tcp', wsOf(addr.janus)], 'works', 0, { side: 'edge' });
  wholeCall(attempt(overSocket, 'tcp'));
}

async function publishes(test) {
  const report = await expect(test, [`http://${addr.edgeFront}:8080/live/whip`], 'works', 0, { says: /WHIP echoes nothing/ });
  assert.equal(report.server.protocol, 'whip');
  assert.ok(attempt(report, 'udp').call.dtls_ms > 0);
}

export const probes = () => [
  { name: 'EchoTest over REST', ...edgeOnly, run: (test) => echoes(test, 'rest') },
  { name: 'EchoTest over WS', ...edgeOnly, run: (test) => echoes(test, 'ws') },
  { name: 'straight at Janus', ...noCall, run: straight },
  { name: 'closed UDP port: dropped, rejected', ...noCall, run: closedPort },
  { name: 'edge does not reach Janus by UDP', ...noCall, run: brokenBackendLeg },
  { name: 'plugin and path missing', ...noCall, run: missingPlugin },
  { name: 'Janus is down', ...noCall, run: janusIsDown },
];
export const probesOfTcp = () => [{ name: 'certificate, TCP and TLS', ...edgeOnly, run: certificates }];
export const probesOfCandidate = () => [{ name: 'wrong candidate_ips', ...noCall, run: wrongCandidate }];
export const probesOfSecret = () => [{ name: 'API secret', ...edgeOnly, run: secrets }];
export const probesOfTrickle = () => [{ name: 'straight, trickled candidates, ICE-TCP', ...noCall, run: trickled }];
export const probesOfWhip = () => [{ name: 'xrtc probe publishes', ...edgeOnly, run: publishes }];
