// Runs the cases. Started by run.mjs inside the client's namespace; what it leaves behind is cleaned up there.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { groups } from './cases/index.mjs';
import { Broker } from './lib/broker.mjs';
import { Browsers } from './lib/browser.mjs';
import { Case } from './lib/case.mjs';
import { Demo } from './lib/demo.mjs';
import { Edge, Straight } from './lib/edge.mjs';
import { Janus, restOf, wsOf } from './lib/janus.mjs';
import { JanusPair, pairGroup } from './lib/janus_pair.mjs';
import { addr, setClientSix } from './lib/namespaces.mjs';
import { servePages } from './lib/page_server.mjs';
import { Program } from './lib/processes.mjs';
import { Report } from './lib/report.mjs';
import { RoomsEdge } from './lib/rooms_edge.mjs';
import { WhipEndpoint } from './lib/whip_endpoint.mjs';

const { run, scratch, logs, binary, straight, filter } = JSON.parse(process.env.XRTC_E2E);
const CASE_TIMEOUT_MS = 45000;

const browsers = new Browsers(scratch);
const pages = await servePages();
const report = new Report();

report.head();
for (const group of groups) await runGroup({ ...group, cases: group.cases.filter((spec) => wanted(group, spec)) });
report.summary();
await browsers.close();
pages.close();
process.exit(report.failed === 0 && report.passed > 0 ? 0 : 1);

function wanted(group, spec) {
  if (straight && spec.edgeOnly) return false;
  return `${group.name}: ${spec.name}`.toLowerCase().includes(filter.toLowerCase());
}

// A failure to start or stop counts as a failed case of its own: nothing is skipped in silence.
async function runGroup(group) {
  if (group.cases.length === 0) return;
  const slug = group.name.replaceAll(/\W+/g, '-');
  const file = (name) => join(logs, `${slug}-${name}`);
  mkdirSync(logs, { recursive: true });
  const edge = theEdge(group, file);
  const janus = edge.server ?? mediaServer(group, join(scratch, `${slug}-janus`), file);
  const broker = group.live && new Broker(run, join(scratch, `${slug}-broker`), file);
  const pcap = file('edge.pcap');
  const capture = new Program(run, 'edge', ['tcpdump', '-i', 'any', '-s', '256', '-U', '-Z', 'root', '-w', pcap], { log: file('tcpdump.log') });
  const shared = { ...group, run, janus, edge, broker, browsers, pageUrl: pages.url, pageUrlSix: pages.urlSix, consoleLog: file('browser.log'), capture: pcap };
  try {
    if (group.six) setClientSix(run, true);
    await janus.start(group.nat, group.general);
    await broker?.start();
    await edge.start();
    for (const spec of group.cases) await runCase(shared, spec);
  } catch (error) {
    report.row({ group: group.name, name: 'start', seconds: 0, error });
  }
  await edge.stop().catch((error) => report.row({ group: group.name, name: 'stop', seconds: 0, error }));
  await janus.kill();
  await broker?.stop();
  if (group.six) setClientSix(run, false);
  await capture.stop();
}

function theEdge(group, file) {
  if (straight) return new Straight();
  if (group.demo) return new Demo(run, { binary, log: file('demo.log'), janus: group.janus && [restOf(addr.janus), wsOf(addr.janus)] });
  if (group.rooms) return new RoomsEdge(run, { binary, dir: join(scratch, 'www'), routes: file('routes.yml'), log: file('edge.log') });
  const { rewrite, shared, whip, live, route, six, candidate, turn } = group;
  const media = group.pair && pairGroup;
  return new Edge(run, { binary, routes: file('routes.yml'), log: file('edge.log'), rewrite, shared, whip, live, route, media, six, candidate, turn, pages: pages.edgeUrl });
}

// A WHIP endpoint stands in Janus' place.
function mediaServer(group, dir, file) {
  if (group.whip) return new WhipEndpoint(run, file('endpoint.log'));
  const Server = group.pair ? JanusPair : Janus;
  return new Server(run, dir, file('janus.log'));
}

async function runCase(group, spec) {
  const started = performance.now();
  const test = new Case(spec, group);
  let error;
  try {
    await test.start();
    await Promise.race([spec.run(test), timeout(spec.timeout ?? CASE_TIMEOUT_MS)]);
    await test.finish();
  } catch (failure) {
    error = failure;
    await Promise.race([test.closePages(), sleep(5000)]);
  }
  report.row({ group: group.name, name: spec.name, ...test.shown, seconds: (performance.now() - started) / 1000, error });
}

async function timeout(ms) {
  await sleep(ms, undefined, { ref: false });
  throw new Error(`not done within ${ms} ms`);
}
