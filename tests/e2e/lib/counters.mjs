// Counts UDP packets by where they come from and go to, with firewall rules that match and do nothing else.
import { ICE_PORT } from './edge.mjs';
import { addr, execIn, existing } from './namespaces.mjs';

const JANUS = ['janus', 'otherJanus'];

const RULES = [
  // What Janus receives: only the edge may be among the senders.
  { name: 'janusFromEdge', sides: JANUS, chain: 'INPUT', match: ['-s', addr.edgeBack] },
  { name: 'janusFromElsewhere', sides: JANUS, chain: 'INPUT', match: ['!', '-i', 'lo', '!', '-s', addr.edgeBack] },
  // What Janus tries: a check towards the client means that the client's address leaked through the SDP.
  { name: 'janusToClient', sides: JANUS, chain: 'OUTPUT', match: ['-d', `${addr.client}/24`] },
  // What the browser tries: anything towards Janus means that the address of Janus leaked.
  { name: 'clientToJanus', sides: ['client'], chain: 'OUTPUT', match: ['-d', `${addr.janus}/24`] },
  { name: 'clientToEdgePort', sides: ['client'], chain: 'OUTPUT', match: ['-d', addr.edgeFront, '--dport', ICE_PORT] },
  { name: 'clientToOtherEdgePort', sides: ['client'], chain: 'OUTPUT', match: ['-d', addr.edgeFront, '!', '--dport', ICE_PORT] },
  { six: true, name: 'clientToEdgePort', sides: ['client'], chain: 'OUTPUT', match: ['-d', addr.edgeFrontSix, '--dport', ICE_PORT] },
  { six: true, name: 'clientToOtherEdgePort', sides: ['client'], chain: 'OUTPUT', match: ['-d', addr.edgeFrontSix, '!', '--dport', ICE_PORT] },
];

export function install(run, where = ['client', 'janus']) {
  for (const { six, name, sides, chain, match } of RULES) {
    for (const side of sides.filter((side) => where.includes(side))) {
      execIn(run, side, [six ? 'ip6tables' : 'iptables', '-w', '-A', chain, '-p', 'udp', ...match, '-m', 'comment', '--comment', name]);
    }
  }
}

// Packets per rule since `before`, or since the installation.
export function read(run, before = {}) {
  const counts = Object.fromEntries(RULES.map(({ name }) => [name, -(before[name] ?? 0)]));
  for (const side of existing(run)) {
    const listed = ['iptables', 'ip6tables'].map((tables) => execIn(run, side, [tables, '-w', '-nvxL'])).join('');
    for (const line of listed.split('\n')) {
      const name = line.match(/\/\* (\w+) \*\//)?.[1];
      if (name) counts[name] += Number(line.trim().split(/\s+/)[0]);
    }
  }
  return counts;
}

// A rule for what arrives at `side`, in front of all others.
export function rule(run, side, action, rule) {
  execIn(run, side, ['iptables', '-w', action === 'add' ? '-I' : '-D', 'INPUT', ...rule]);
}

// Janus vanishes without a word: what is sent to it is dropped, so connecting to it times out.
export function setJanusUnreachable(run, on) {
  execIn(run, 'janus', ['iptables', '-w', on ? '-I' : '-D', 'INPUT', '!', '-i', 'lo', '-j', 'DROP']);
}
