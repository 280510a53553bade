// The matrix: which cases run against which Janus. A group shares one Janus and one edge.
import { admin } from './admin.mjs';
import { clientRestart, janusRenegotiation, janusRestart, renegotiation, severalConnections } from './changes.mjs';
import { controls } from './control.mjs';
import { demoInFrontOfJanus, demos } from './demo.mjs';
import { echoTests, echoWithoutTrickle } from './echotest.mjs';
import { endings } from './endings.mjs';
import { janusOffers } from './janus_offers.mjs';
import { live } from './live.mjs';
import { long } from './long.mjs';
import { outages } from './outage.mjs';
import { probes, probesOfCandidate, probesOfSecret, probesOfTcp, probesOfTrickle, probesOfWhip } from './probe.mjs';
import { roamings } from './roaming.mjs';
import { rooms } from './rooms.mjs';
import { tcp } from './tcp.mjs';
import { turn } from './turn.mjs';
import { twoJanus } from './two_janus.mjs';
import { videoRooms } from './videoroom.mjs';
import { whip } from './whip.mjs';

const fullTrickle = { full_trickle: true };
const iceLite = { ice_lite: true };

export const groups = [
  {
    name: 'default',
    nat: {},
    cases: [
      ...echoTests(),
      echoWithoutTrickle('rest'),
      echoWithoutTrickle('ws'),
      ...videoRooms(),
      ...janusOffers(),
      clientRestart('rest'),
      clientRestart('ws'),
      janusRestart('rest'),
      janusRestart('ws'),
      renegotiation('rest'),
      renegotiation('ws'),
      janusRenegotiation('ws'),
      severalConnections('rest'),
      severalConnections('ws'),
      ...echoTests(['rest', 'ws'], 'firefox'),
      clientRestart('ws', 'firefox'),
    ],
  },
  { name: 'full_trickle', nat: fullTrickle, cases: [...echoTests(), ...videoRooms(['ws']), ...janusOffers(), clientRestart('ws'), janusRestart('rest'), janusRenegotiation('rest'), ...echoTests(['ws'], 'firefox')] },
  { name: 'ice_lite', nat: iceLite, cases: [...echoTests(), ...videoRooms(['rest']), ...janusOffers(), clientRestart('rest'), janusRestart('ws'), ...echoTests(['rest'], 'firefox')] },
  { name: 'ice_lite+full_trickle', nat: { ...iceLite, ...fullTrickle }, cases: [...echoTests(), ...videoRooms(['ws']), clientRestart('ws')] },
  { name: 'transparent', nat: {}, route: { icedirect: true }, cases: [...echoTests(), ...videoRooms(['ws']), clientRestart('ws'), ...echoTests(['ws'], 'firefox')] },
  { name: 'transparent, TCP', nat: { ice_tcp: true, ice_lite: true }, route: { icedirect: true, icetcp: true }, cases: echoTests() },
  { name: 'icetcp', nat: { ice_tcp: true, ice_lite: true }, route: { icetcp: true }, cases: [...echoTests(), clientRestart('ws')] },
  { name: 'operators', nat: {}, cases: admin() },
  { name: 'roaming', nat: {}, cases: roamings() },
  { name: 'endings', nat: {}, cases: endings() },
  { name: 'long', nat: {}, cases: long() },
  { name: 'IPv6 client', nat: {}, six: true, cases: [...echoTests(), ...echoTests(['ws'], 'firefox')].map((spec) => ({ ...spec, edgeOnly: true })) },
  { name: 'one TCP port', nat: {}, shared: true, cases: tcp() },
  { name: 'TURN', nat: {}, turn: true, cases: turn() },
  { name: 'rooms', rooms: true, cases: rooms() },
  { name: 'WHIP', nat: {}, whip: true, cases: [...whip(), ...probesOfWhip()] },
  { name: 'demo', demo: true, cases: demos() },
  { name: 'demo, a Janus', demo: true, janus: true, nat: {}, cases: demoInFrontOfJanus() },
  { name: 'live', nat: {}, live: true, cases: live() },
  { name: 'outages', nat: {}, cases: outages() },
  { name: 'two Janus', nat: {}, pair: true, cases: twoJanus() },
  { name: 'probe', nat: {}, cases: probes() },
  { name: 'probe, one TCP port', nat: {}, shared: true, cases: probesOfTcp() },
  { name: 'probe, wrong address', nat: {}, candidate: '10.50.0.99', cases: probesOfCandidate() },
  { name: 'probe, secret', nat: {}, general: { api_secret: '"s3 cr&t"' }, cases: probesOfSecret() },
  { name: 'probe, full_trickle and ice_tcp', nat: { ...fullTrickle, ice_tcp: true }, cases: probesOfTrickle() },
  { name: 'no rewriting', nat: {}, rewrite: false, cases: controls() },
];
