// Rooms of protocol live, routed by a real Janus VideoRoom; what happens is published at a real RabbitMQ.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { HTTP_PORT, ICE_PORT, LIVE_SECRET } from '../lib/edge.mjs';
import { addr } from '../lib/namespaces.mjs';
import { until } from '../lib/processes.mjs';

const url = `ws://${addr.edgeFront}:${HTTP_PORT}/api`;

function bearer(userId, secret = LIVE_SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ userId, exp: Math.floor(Date.now() / 1000) + 60 })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

async function person(test, name, room, further) {
  const page = await test.page('live.html');
  const call = (method, ...args) => page.evaluate((method, args) => window.e2e[method](...args), method, args);
  const reply = await call('join', url, bearer(name), room, further);
  assert.equal(reply.s, true, JSON.stringify(reply));
  return { name, call, id: reply.d.socketId, found: reply.d.sessions.map((it) => it.userId) };
}

async function threeInARoom(test) {
  const room = 'salon';
  const people = [];
  for (const name of ['ann', 'bob', 'cid']) people.push(await person(test, name, room));
  assert.deepEqual(people.map((it) => it.found), [[], ['ann'], ['ann', 'bob']]);
  for (const { call } of people) assert.equal((await call('publish')).s, true);
  for (const one of people) await seesTheOthers(test, one, people.filter((other) => other !== one));
  await people[0].call('publish');
  const refused = await until('a second offer is refused', async () => (await people[0].call('heard', 'exchangeSdpR')).find((it) => !it.s));
  assert.equal(refused.e, 1330);

  await people[2].call('leave');
  const left = await until('the others hear that one left', async () => (await people[0].call('heard', 'eventLeave'))[0], { timeout: 5000 });
  assert.deepEqual(left.d, { roomId: room, roomSize: 2, socketId: people[2].id, userId: 'cid' });
  await published(test, room, people);
}

// Two PeerConnections down, each with rising frames, all of them by the edge's one port.
async function seesTheOthers(test, one, others) {
  let before = new Map();
  await until(`${one.name} sees the others`, async () => {
    const { up, others: now } = await one.call('stats');
    const rises = now.filter((it) => it.frames > (before.get(it.id) ?? 0) + 5);
    if (now.length === 2 && before.size === 0 && now.every((it) => it.frames > 0)) before = new Map(now.map((it) => [it.id, it.frames]));
    if (up?.state !== 'connected' || before.size === 0 || rises.length < 2) return false;
    for (const { remote, sdp } of [up, ...now]) {
      assert.deepEqual(remote, { address: addr.edgeFront, port: ICE_PORT }, 'selected remote of the browser');
      assert.ok(!sdp.includes(addr.janus), 'the address of Janus stands in the SDP for the browser');
    }
    test.shown.frames = Math.min(...now.map((it) => it.frames));
    return true;
  }, { timeout: 20000, every: 200 });
  const { others: seen } = await one.call('stats');
  assert.deepEqual(seen.map((it) => it.id).sort(), others.map((it) => it.id).sort(), `whom ${one.name} sees`);
  const up = (await one.call('heard', 'eventWebrtcUp')).map((message) => message.d.from.userId);
  assert.deepEqual(up.sort(), ['', ...others.map((it) => it.name)].sort(), `of whom ${one.name} heard that media flow`);
}

async function published(test, room, people) {
  const of = (topic) => test.group.broker.events().filter((event) => event.topic === topic && event.body.roomId === room);
  await until('the leave is published', () => of('room.leave').length > 0, { timeout: 5000 });
  const joins = of('room.join');
  assert.deepEqual(joins.map((event) => [event.body.userId, event.body.roomSize]), [['ann', 1], ['bob', 2], ['cid', 3]]);
  assert.deepEqual(joins.map((event) => event.body.socketId), people.map((it) => it.id));
  assert.ok(joins.every((event) => event.persistent && event.type === 'application/json'));
  assert.equal(joins[0].body.ip, addr.client);
  assert.equal(of('room.leave')[0].body.userId, 'cid');
}

// Two hear each other, mixed by an AudioBridge; one who did not ask for it is not bothered.
async function mixedSound(test) {
  const further = { mcu: true };
  const ann = await person(test, 'ann', 'radio', further);
  await isMixed(ann);
  const alone = (await ann.call('mix')).energy;
  const bob = await person(test, 'bob', 'radio', further);
  const cid = await person(test, 'cid', 'radio');
  await isMixed(bob);
  await hears(test, ann, alone + 0.001);
  await hears(test, bob, 0.001);
  await ann.call('hangUpMix');
  await until('ann is offered the mix again', async () => (await offersOfMix(ann)).length === 2);
  await isMixed(ann, 2);
  await hears(test, ann, 0.001);
  assert.deepEqual(await offersOfMix(cid), []);
  assert.equal((await ann.call('heard', 'exchangeSdpR')).every((it) => it.s), true);
}

const offersOfMix = async ({ call }) => (await call('heard', 'eventExchangeSdp')).filter((it) => it.d.from.socketId === 'mcu');

async function isMixed({ name, call }, times = 1) {
  await until(`${name} hears that the mix flows`, async () => (await call('heard', 'eventWebrtcUp')).length === times);
  const ups = await call('heard', 'eventWebrtcUp');
  assert.deepEqual(ups.at(-1).d, { from: { socketId: 'mcu', userId: '' } });
  const { remote, sdp, inbound } = await until(`${name} is connected`, async () => { const now = await call('mix'); return now.state === 'connected' && now.inbound === 1 && now; });
  assert.deepEqual(remote, { address: addr.edgeFront, port: ICE_PORT }, 'selected remote of the browser');
  assert.ok(!sdp.includes(addr.janus), 'the address of Janus stands in the SDP for the browser');
  assert.equal(inbound, 1, 'one stream, whoever speaks');
}

async function hears(test, { name, call }, atLeast) {
  await until(`${name} hears something`, async () => (await call('mix')).energy > atLeast, { timeout: 15000, every: 200 });
  test.shown.energy = (await call('mix')).energy;
}

async function forgedBearer(test) {
  const page = await test.page('live.html');
  const reply = await page.evaluate((...args) => window.e2e.join(...args), url, bearer('eve', 'another secret'), 'salon');
  assert.deepEqual([reply.s, reply.e], [false, 1286]);
}

export const live = () => [
  { name: 'three browsers in one room over VideoRoom, events at RabbitMQ', edgeOnly: true, timeout: 60000, run: threeInARoom },
  { name: 'two browsers mixed by an AudioBridge', edgeOnly: true, run: mixedSound },
  { name: 'a forged bearer', edgeOnly: true, control: true, run: forgedBearer },
];
