// Two clients of one room protocol find each other through the edge, and see each other. Media goes between them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Program, until } from '../lib/processes.mjs';

const READY = 'window.e2e !== undefined';
// Debian's own: it has the bindings.
const PYTHON = '/usr/bin/python3';

const open = (test, room = 'some-room') => test.openPage(`${test.edge.pageUrl}${room}`, READY);
const start = (page, ...args) => page.evaluate((...args) => window.e2e.start(...args), ...args);
const stats = (page) => page.evaluate(() => window.e2e.stats());
const heard = (page) => page.evaluate(() => window.e2e.heard());

async function sees(test, page, who, { audio = true } = {}) {
  let last = { framesDecoded: 3, audioBytes: 0 };
  for (let rises = 0; rises < 3; rises++) {
    last = await until(`${who} sees and hears more`, async () => {
      const now = await stats(page);
      return now.framesDecoded > last.framesDecoded && (!audio || now.audioBytes > last.audioBytes) && now;
    }, { timeout: 15000, every: 100 }).catch(async (error) => {
      throw new Error(`${error.message}; ${JSON.stringify(await stats(page))}; heard ${(await heard(page)).map((text) => String(text).slice(0, 60)).join(' | ')}`);
    });
  }
  test.shown.frames = last.framesDecoded;
}

async function webrtcServer(test) {
  const [ann, bob] = [await open(test), await open(test)];
  const annId = await start(ann, 'webrtcServer', 'ann', 'a');
  const bobId = await start(bob, 'webrtcServer', 'bob', 'b');
  assert.match(annId, /^[A-Za-z0-9+/]{14}==$/);
  assert.notEqual(annId, bobId);
  await sees(test, ann, 'ann');
  await sees(test, bob, 'bob');
  await bob.evaluate(() => window.e2e.hangUp());
  await until('ann hears that bob left', async () => (await heard(ann)).some((text) => text.includes('"left"') && text.includes(bobId)));
  const stranger = await open(test, 'other-room');
  await assert.rejects(Promise.race([
    start(stranger, 'webrtcServer', 'ann', 'wrong'),
    until('unauthorized', async () => (await heard(stranger)).some((text) => text.includes('unauthorized'))).then(() => { throw new Error('unauthorized'); }),
  ]), /unauthorized/);
}

async function blueprints(test) {
  const [creator, joiner] = [await open(test), await open(test)];
  const room = await start(creator, 'blueprints');
  assert.ok(Number.isInteger(room) && room >= 1 && room <= 999999, `room ${room}`);
  await start(joiner, 'blueprints', room);
  await sees(test, creator, 'the creator');
  await sees(test, joiner, 'the joiner');
  const third = await open(test);
  await start(third, 'blueprints', room);
  await until('a third one is told that this is the wrong room', async () => (await heard(third)).includes('{"type":"WRONGROOM"}'));
}

async function gstPackage(test) {
  const [producer, consumer] = [await open(test), await open(test)];
  await start(producer, 'gstProducer');
  const meta = await start(consumer, 'gstConsumer');
  assert.deepEqual(meta, { name: 'xrtc end to end: rooms' });
  await sees(test, consumer, 'the consumer');
  assert.deepEqual((await heard(consumer)).filter((text) => text.startsWith('error')), []);
  await producer.close();
  await until('the consumer hears that the producer is gone', async () => (await heard(consumer)).includes('producer removed'));
}

// webrtcbin sends to a browser and the browser to webrtcbin. The end of one side is the end of the other's connection.
async function webrtcbin(test) {
  const page = await open(test);
  await start(page, 'gst', 'browser');
  const log = join(test.edge.dir, '../gst_peer.log');
  const script = fileURLToPath(new URL('../lib/gst_peer.py', import.meta.url));
  const peer = new Program(test.run, 'client', [PYTHON, script, `${test.edge.signalling}/gst`, 'webrtcbin', 'browser'], { log });
  const said = () => readFileSync(log, 'utf8').trim().split('\n');
  try {
    await sees(test, page, 'the browser');
    const received = () => Number(said().findLast((line) => line.startsWith('received'))?.split(' ')[1] ?? 0);
    for (let rises = 0, last = 0; rises < 3; rises++) {
      last = await until('webrtcbin receives more', async () => received() > last && received(), { timeout: 10000, every: 200 });
    }
    await page.evaluate(() => window.e2e.hangUp());
    await until('webrtcbin is told that the call is over', () => said().includes('closed 1000'));
  } catch (error) {
    throw new Error(`${error.message}; webrtcbin said: ${said().slice(-5).join(' / ')}`);
  } finally {
    await peer.stop();
  }
}

export const rooms = () => [
  ['webrtc-server: two browsers', webrtcServer],
  ['Blueprints: two browsers', blueprints],
  ['gstwebrtc-api: two browsers', gstPackage],
  ['gst: webrtcbin and a browser', webrtcbin],
].map(([name, run]) => ({ name, control: true, edgeOnly: true, run }));
