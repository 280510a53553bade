// Three network namespaces in a row: client | edge | janus. The one in the middle does not forward, so a packet gets
// from one end to the other only if the program under test carries it.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export const addr = {
  client: '10.50.0.2',
  edgeFront: '10.50.0.1', // the edge as the client sees it
  edgeBack: '10.60.0.1', // the edge as Janus sees it
  janus: '10.60.0.2',
  clientSix: 'fd00:50::2', // only in the group with IPv6
  edgeFrontSix: 'fd00:50::1',
  otherJanus: '10.60.0.3', // only where there are two
};

const SIDES = ['client', 'edge', 'janus'];

export function namespaceName(run, side) {
  return `xrtc-e2e-${run}-${side}`;
}

export function inNamespace(run, side, command) {
  return ['nsenter', `--net=/run/netns/${namespaceName(run, side)}`, ...command];
}

export function execIn(run, side, command, options = {}) {
  const [file, ...args] = inNamespace(run, side, command);
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
}

export function up(run) {
  for (const side of SIDES) addSide(run, side);
  connect(run, ['client', 'c0', addr.client], ['edge', 'front', addr.edgeFront]);
  connect(run, ['edge', 'back', addr.edgeBack], ['janus', 'j0', addr.janus]);
  // Both ends would reach each other if only somebody forwarded: a leaked candidate is really tried, and counted.
  ip('-n', namespaceName(run, 'client'), 'route', 'add', 'default', 'via', addr.edgeFront);
  ip('-n', namespaceName(run, 'janus'), 'route', 'add', 'default', 'via', addr.edgeBack);
  setForwarding(run, false);
}

// Only the harness' own check of Janus without an edge turns this on.
export function setForwarding(run, on) {
  const file = '/proc/sys/net/ipv4/ip_forward';
  const wanted = on ? '1' : '0';
  if (execIn(run, 'edge', ['cat', file]).trim() !== wanted) {
    execIn(run, 'edge', ['sh', '-c', `echo ${wanted} > ${file}`]);
  }
}

// The client and the edge have nothing but IPv6 between them, or what they had before.
export function setClientSix(run, on) {
  const [client, edge] = ['client', 'edge'].map((side) => namespaceName(run, side));
  const action = on ? ['del', 'add'] : ['add', 'del'];
  ip('-n', client, 'addr', action[0], `${addr.client}/24`, 'dev', 'c0');
  ip('-n', edge, 'addr', action[0], `${addr.edgeFront}/24`, 'dev', 'front');
  ip('-n', client, 'addr', action[1], `${addr.clientSix}/64`, 'dev', 'c0', 'nodad');
  ip('-n', edge, 'addr', action[1], `${addr.edgeFrontSix}/64`, 'dev', 'front', 'nodad');
  if (on) ip('-6', '-n', client, 'route', 'add', 'default', 'via', addr.edgeFrontSix);
  else ip('-n', client, 'route', 'add', 'default', 'via', addr.edgeFront);
}

// A second machine behind the edge, for the groups with two Janus. The edge has one address for both.
export function addOtherJanus(run) {
  addSide(run, 'otherJanus');
  const [edge, other] = ['edge', 'otherJanus'].map((side) => namespaceName(run, side));
  ip('-n', edge, 'link', 'add', 'back2', 'type', 'veth', 'peer', 'name', 'j0', 'netns', other);
  ip('-n', other, 'addr', 'add', `${addr.otherJanus}/24`, 'dev', 'j0');
  ip('-n', edge, 'link', 'set', 'back2', 'up');
  ip('-n', other, 'link', 'set', 'j0', 'up');
  ip('-n', edge, 'route', 'add', `${addr.otherJanus}/32`, 'dev', 'back2', 'src', addr.edgeBack);
  ip('-n', other, 'route', 'add', 'default', 'via', addr.edgeBack);
}

export function removeOtherJanus(run) {
  if (existing(run).includes('otherJanus')) ip('netns', 'del', namespaceName(run, 'otherJanus'));
}

export function down(run) {
  for (const side of existing(run)) ip('netns', 'del', namespaceName(run, side));
}

export function existing(run) {
  const names = ip('netns', 'list').split('\n').map((line) => line.split(' ')[0]);
  return [...SIDES, 'otherJanus'].filter((side) => names.includes(namespaceName(run, side)));
}

export function udpSockets(run, side) {
  return execIn(run, side, ['cat', '/proc/net/udp', '/proc/net/udp6']).split('\n').filter((line) => /^ *\d+:/.test(line)).length;
}

// Every process inside, that is: every one this run started.
export function processes(run) {
  return existing(run).flatMap((side) =>
    ip('netns', 'pids', namespaceName(run, side)).split('\n').filter(Boolean).map(Number));
}

export function describeProcess(pid) {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 100)}`;
  } catch {
    return `${pid} (gone)`;
  }
}

function addSide(run, side) {
  ip('netns', 'add', namespaceName(run, side));
  ip('-n', namespaceName(run, side), 'link', 'set', 'lo', 'up');
}

function connect(run, [sideA, linkA, addrA], [sideB, linkB, addrB]) {
  const [a, b] = [namespaceName(run, sideA), namespaceName(run, sideB)];
  ip('-n', a, 'link', 'add', linkA, 'type', 'veth', 'peer', 'name', linkB, 'netns', b);
  ip('-n', a, 'addr', 'add', `${addrA}/24`, 'dev', linkA);
  ip('-n', b, 'addr', 'add', `${addrB}/24`, 'dev', linkB);
  ip('-n', a, 'link', 'set', linkA, 'up');
  ip('-n', b, 'link', 'set', linkB, 'up');
}

function ip(...args) {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
